"""Ways into other people's code, one outside world a file. Nothing in reconfig imports them; a user does.

import reconfig.plugins.timm
import reconfig.plugins.torchvision

What they share: ``request`` (a rule and options, checked when they are given), ``parts`` (networks inside another
module), and ``callback`` (what both names of Lightning have in common).
"""
