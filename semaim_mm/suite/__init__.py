"""One specification -> the whole chain: pretraining, every task, results.

spec.py (what is compared) -> stages.py (what has to run) -> state.py (what is done already) ->
execute.py (running the rest), with view.py for people.
"""
