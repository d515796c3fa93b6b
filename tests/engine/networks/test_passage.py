"""Rules of ours in the machine's own forward chain."""

from riverport.engine.networks.passage import plan

CHAIN = "ip filter FORWARD"
LISTED = """\
table ip filter {
	chain FORWARD { # handle 3
		type filter hook forward priority filter; policy drop;
		oifname "br-1" accept comment "riverport out" # handle 9
		iifname "br-1" accept comment "riverport in" # handle 8
		oifname "br-2" accept comment "riverport out" # handle 7
		iifname "br-9" accept # handle 6
	}
}
"""


def test_a_chain_that_is_right_is_left_alone() -> None:
    assert plan(CHAIN, LISTED, ["br-1"]).splitlines() == ["delete rule ip filter FORWARD handle 7"]
    right = "\n".join(line for line in LISTED.splitlines() if "br-2" not in line)
    assert plan(CHAIN, right, ["br-1"]) == ""


def test_missing_rules_are_inserted_and_half_ones_made_anew() -> None:
    assert plan(CHAIN, LISTED, ["br-1", "br-2"]).splitlines() == [
        "delete rule ip filter FORWARD handle 7",
        'insert rule ip filter FORWARD iifname "br-2" accept comment "riverport in"',
        'insert rule ip filter FORWARD oifname "br-2" accept comment "riverport out"',
    ]


def test_what_is_not_ours_is_not_touched() -> None:
    assert "handle 6" not in plan(CHAIN, LISTED, [])
