"""Experiments on labelled images: searching for better choices, and comparing methods.

space      what a search may choose, and from what
trial      one training, judged on images that it did not learn: a job
study      the sampler and the record of what it drew, by Optuna
race       many trials that begin cheap, of which the best third goes on
budget     how much time is left for trials, and how long they will take
verdict    winner against start on several seeds, with the interval of the difference
importance which choice explains the differences between trials
record     the table of trials, and the JSON that the page is drawn from
plan       what a search is to do: how many trials, which images judge
search     all of these together
worker     trials of one study on many machines, with a database between them
features   what classic methods are fed: pixels, deskewed pixels, gradients
methods    the table of methods that are compared
fitting    one method fitted on one fold: a job
fitted     what is known of a fitted method, as a row of the table
cost       how long a method will take, told from small fits
compare    all methods on the same folds
folder     the names in an experiment's folder, and the one process that may work in it
board      how it is told: a live table, or plain lines
"""
