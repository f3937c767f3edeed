"""math-verify, kept at arm's length: asked only about what the grader has read and cannot decide.

    pool      processes that run it, and are killed when they take too long
    worker    what runs in such a process

What it leaves out: deciding what to ask (`rewards.math.grade`).
"""
