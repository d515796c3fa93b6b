from pathlib import Path

from riverport.engine.settings_reference import PAGE, page


def test_the_page_of_settings_is_what_the_table_says() -> None:
    path = Path(__file__).parents[3] / PAGE
    assert path.read_text(encoding="utf-8") == page(), "run python -m riverport.engine.settings_reference"
