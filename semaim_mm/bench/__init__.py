"""What tools/benchmark.py measures: ours beside a baseline in the same run, never a time alone.

timing.py    rounds A B A B ..., medians of paired ratios
step_facts.py  peak memory, largest tensor, attention kernels of one step
report.py    tables as Markdown and JSON, with the machine and the versions
"""
