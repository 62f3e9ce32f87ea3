"""/metrics for Prometheus, and /healthz."""

import time
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from mtlsearch.service.office import Office
from mtlsearch.service.queue import QUEUED, RUNNING
from mtlsearch.service.web.api import TheOffice

router = APIRouter()


class Numbers(Collector):
    """What a server measures, at the moment when it is asked."""

    def __init__(self, office: Office) -> None:
        self.office = office

    def collect(self) -> Any:
        active = self.office.queue.find(states=(QUEUED, RUNNING))
        searches = GaugeMetricFamily("mtlsearch_searches", "Searches by state.", labels=["state"])
        for state, number in self.office.counts().items():
            searches.add_metric([state], number)
        yield searches
        rate = sum(self.office.board.rates.values())
        yield GaugeMetricFamily(
            "mtlsearch_trial_epochs_per_second", "Trial-epochs that all searches train a second.", rate
        )
        ended = self.office.board.trials_per_second()
        yield GaugeMetricFamily(
            "mtlsearch_trials_per_second", "Trials that ended a second, over the last minute.", ended
        )
        trials = GaugeMetricFamily("mtlsearch_trials", "Trials of each running search.", labels=["search", "study"])
        for each in active:
            if each.state == RUNNING:
                trials.add_metric([str(each.id), each.name], self.office.show(each).trials)
        yield trials
        waiting = [each.submitted for each in active if each.state == QUEUED]
        age = time.time() - min(waiting) if waiting else 0.0
        yield GaugeMetricFamily("mtlsearch_queue_oldest_seconds", "How long the oldest queued search has waited.", age)
        yield GaugeMetricFamily(
            "mtlsearch_lease_oldest_seconds",
            "How long the running search that was last seen alive longest ago has given no sign of life.",
            self.office.scheduler.oldest_lease(),
        )
        yield _memory()


def _memory() -> GaugeMetricFamily:
    """The memory of CUDA devices, by the driver's own tool; none where there is no such device."""
    found = GaugeMetricFamily("mtlsearch_device_memory_bytes", "Memory of a device.", labels=["device", "kind"])
    for device, (used, total) in device_memory().items():
        found.add_metric([device, "used"], used)
        found.add_metric([device, "total"], total)
    return found


def device_memory() -> dict[str, tuple[float, float]]:
    """Used and total bytes by CUDA device; asking torch would take a share of the device for the server itself."""
    import shutil
    import subprocess

    if shutil.which("nvidia-smi") is None:
        return {}
    query = ["nvidia-smi", "--query-gpu=index,memory.used,memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=5, check=True).stdout
        rows = [line.split(",") for line in told.splitlines()]
        return {f"cuda:{int(i)}": (float(used) * 2**20, float(total) * 2**20) for i, used, total in rows}
    except (OSError, subprocess.SubprocessError, ValueError):
        return {}


@router.get("/metrics", include_in_schema=False)
def metrics(office: TheOffice) -> PlainTextResponse:
    registry = CollectorRegistry()
    registry.register(Numbers(office))
    return PlainTextResponse(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/healthz", include_in_schema=False)
def healthz(office: TheOffice) -> JSONResponse:
    trouble = office.scheduler.trouble
    is_well = trouble is None and office.scheduler.is_alive()
    # It is answered without a token, so it says no more than that.
    return JSONResponse({"status": "ok" if is_well else "failing"}, 200 if is_well else 503)
