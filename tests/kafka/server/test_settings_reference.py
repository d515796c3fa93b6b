from pathlib import Path

from riverport.kafka.server.settings import DYNAMIC_ONLY, TABLE
from riverport.kafka.server.settings_reference import PAGE, page


def test_the_page_is_what_the_tables_say() -> None:
    path = Path(__file__).parents[3] / PAGE
    assert path.read_text(encoding="utf-8") == page(), "run python -m riverport.kafka.server.settings_reference"


def test_every_setting_is_on_the_page_once() -> None:
    text = page().split("\n## Topics\n")[0]
    for row in (*TABLE.values(), *DYNAMIC_ONLY):
        assert text.count(f"\n| `{row.key}` |") == (0 if row.internal else 1), row


def test_every_line_of_a_table_has_all_columns() -> None:
    width = 0
    for line in page().splitlines():
        cells = line.replace("\\|", "").count("|")
        if line.startswith("| Key"):
            width = cells
        elif line.startswith("|"):
            assert cells == width, line
