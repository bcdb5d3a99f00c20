"""The metric with the version of the process. A collector, because metrics of several processes cannot be constant."""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

import settings


class BuildInfo(Collector):
    """Yields ``coursebus_build_info``."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        documentation = "1, with the version and the commit of the process."
        family = GaugeMetricFamily("coursebus_build_info", documentation, labels=["version", "revision"])
        family.add_metric([settings.COURSEBUS_VERSION, settings.COURSEBUS_REVISION], 1)
        yield family
