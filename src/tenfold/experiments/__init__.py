"""Experiments on labelled images: search for better recipes, and compare methods.

space             the fields that a search samples, and the settings of a search
study             the sampler, the record of all trials, and the importance of parameters; by Optuna
halving           trials, rungs, successive halving, and the time that is left
trial             one training, evaluated on held-out images: a job; the paired test of the winner
search            all of these together, in one process
shared_search     one search by many machines, with a database between them
baselines         the methods that can be compared, and features for classic ones
cross_validation  one method fitted on one fold: a job; estimates of its time
compare           all methods on the same folds
"""
