"""What `scripts/cluster-chaos` is made of.

fleet.py      the nodes: processes on this machine under `riverport up`, or a network namespace for each
faults.py     what is done to them
ledger.py     every record that was sent, every acknowledgement, every silence
workload.py   librdkafka's producers and consumers, which go on through everything
verdict.py    what must hold in the end, and what does not
"""
