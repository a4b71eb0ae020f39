"""Scripts of other people, run unchanged on a rewritten network: the engine of ``reconfig run``.

    code = run(Program.read(["train.py", "--epochs", "10"]), Job(plan=partial(reconfig.plan, rule="10-10-4")))

The script becomes ``__main__`` as Python itself would have it. The network is found when it is made or first used, its
plan is printed, and it takes on the rewritten one's state in place, before an optimizer or a checkpoint sees it.
"""
