"""Ways into other people's code, one outside world a file. Nothing in reconfig imports them; a user does.

import reconfig.plugins.timm
import reconfig.plugins.torchvision
"""
