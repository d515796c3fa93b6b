"""The command line: `riverport ...`.

main.py            which command is asked for; imports only that command's module
command.py         parsers, the connection to a cluster, failures worded for a person; terminal.py what is printed
<command>.py       one for each command: up, demo, kafka, topics, produce, consume, groups, configs, cluster, chaos, ...

A cluster of processes (ADR 8):

up.py              one broker in this process, or
cluster_plan.py      the settings of several,
supervisor.py        who starts them, starts them again (restarts.py decides), and stops them,
node_process.py      each of them a fork of it,
control.py           and how chaos.py asks for faults (node_faults.py, deaf.py)
cluster_picture.py what a cluster says of itself, for cluster.py and demo_cluster.py
"""
