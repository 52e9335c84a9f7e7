"""Asks a server by prometheus-api-client as its users do, and prints what came as JSON. Argument: the server's URL."""

import datetime
import json
import sys

from prometheus_api_client import PrometheusConnect

server = PrometheusConnect(url=sys.argv[1], disable_ssl=True)
now = datetime.datetime.now()
past = now - datetime.timedelta(minutes=2)
values = server.custom_query_range("asr_active_requests", start_time=past, end_time=now, step="1")
chunks = server.get_metric_range_data(
    "asr_active_requests", label_config={"queue": "a"}, start_time=past, end_time=now,
    chunk_size=datetime.timedelta(minutes=1),
)
print(json.dumps({
    "connected": server.check_prometheus_connection(),
    "metrics": server.all_metrics(),
    "labels": server.get_label_names(),
    "jobs": server.get_label_values("job"),
    "series": server.get_series(past, now, params={"match[]": "asr_active_requests"}),
    "current": server.get_current_metric_value("asr_active_requests", label_config={"queue": "a"}),
    "sum": server.custom_query("sum(asr_active_requests)"),
    "points": sum(len(series["values"]) for series in values),
    "chunk_points": sum(len(chunk["values"]) for chunk in chunks),
    "pools": server.get_scrape_pools(),
    "targets": [target["scrapeUrl"] for target in server.get_targets("active")["activeTargets"]],
    "about_target": server.get_target_metadata({"job": "asr"}, "asr_active_requests"),
    "about": server.get_metric_metadata("asr_active_requests"),
}))
