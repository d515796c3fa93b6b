"""The command line: `riverport ...`.

main.py       which command is asked for; imports only that command's module
"""
