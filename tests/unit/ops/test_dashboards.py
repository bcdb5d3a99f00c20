"""The files of the Grafana dashboards; tests/e2e/test_monitoring.py runs their queries on Prometheus."""

import json
from collections import Counter
from itertools import product
from typing import Any

import pytest
import yaml

from core.money import currencies
from settings import ROOT

GRAFANA = ROOT / "ops" / "grafana"
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in (GRAFANA / "dashboards").glob("*.json")}
COLUMNS = 24


def cells(panel: dict[str, Any]) -> list[tuple[int, int]]:
    grid = panel["gridPos"]
    return list(product(range(grid["x"], grid["x"] + grid["w"]), range(grid["y"], grid["y"] + grid["h"])))


@pytest.mark.parametrize("name", sorted(DASHBOARDS))
def test_panels_fill_the_page_without_overlap(name: str):
    covered = Counter(cell for panel in DASHBOARDS[name]["panels"] for cell in cells(panel))

    assert set(covered.values()) == {1}
    height = max(y for _, y in covered) + 1
    assert set(covered) == set(product(range(COLUMNS), range(height)))


@pytest.mark.parametrize("name", sorted(DASHBOARDS))
def test_every_panel_has_unit_and_provisioned_datasource(name: str):
    [source] = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    for panel in DASHBOARDS[name]["panels"]:
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": source["type"], "uid": source["uid"]}, panel["title"]


@pytest.mark.parametrize("name", sorted(DASHBOARDS))
def test_stat_panels_have_color_thresholds(name: str):
    traffic = "Requests per second"  # a value without good or bad ranges
    numbers = [panel for panel in DASHBOARDS[name]["panels"] if panel["type"] == "stat" and panel["title"] != traffic]

    assert numbers
    for panel in numbers:
        assert "green" in str(panel["fieldConfig"]["defaults"].get("thresholds")), panel["title"]


def test_money_panels_use_decimal_places_of_every_currency():
    panels = [panel for panel in DASHBOARDS["payments"]["panels"] if "_minor_total" in str(panel["targets"])]
    zero, three = ("|".join(sorted(code for code, n in currencies().items() if n == places)) for places in (0, 3))

    assert panels
    for panel in panels:
        expression = panel["targets"][0]["expr"]
        assert f'{{currency!~"{zero}|{three}"}}[1h]) / 100' in expression
        assert f'{{currency=~"{zero}"}}[1h]) or' in expression
        assert f'{{currency=~"{three}"}}[1h]) / 1000' in expression
