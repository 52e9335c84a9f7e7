"""An engine next to its peers: the same pods, the same queries, one run.

    engine.py --binary target/release/crescendo --pods-binary target/release/bench-pods \
        [--engines prometheus,victoria-metrics,crescendo] [--runs scrape,history,hard] [--output FILE.json]

- scrape: 1,000 pods of 100 series every 5 s; costs per sample, memory, bytes.
- history: one hour of the same pods by remote write; costs per sample, bytes before and after compaction,
  queries, death by -9 and the start after it.
- hard: gauges that use all their bits, explicit timestamps, a tenth of the pods replaced each minute; then
  remote write with one series in each request.

CPU seconds are user and system time of the whole process, from the kernel's accounts; resident memory is VmRSS.
Engines run one after another (in `hard` side by side) on free loopback ports; what they leave is deleted. Progress goes to standard error,
the Markdown tables to standard output.
"""

import argparse
import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

PROMETHEUS_FLAGS = (
    "--config.file={config} --storage.tsdb.path={folder}/data --web.listen-address=127.0.0.1:{port} "
    "--web.enable-remote-write-receiver --web.enable-admin-api --storage.tsdb.retention.time=30d --log.level=warn"
)
COMMANDS = {
    "prometheus": "prometheus " + PROMETHEUS_FLAGS,
    "victoria-metrics": (
        "victoria-metrics -storageDataPath={folder}/data -httpListenAddr=127.0.0.1:{port} -retentionPeriod=12 "
        "-promscrape.config={config} -promscrape.config.strictParse=false -loggerLevel=WARN -search.disableCache "
        "-search.latencyOffset=0s -search.maxUniqueTimeseries=1000000 -search.maxQueryDuration=120s"
    ),
    "crescendo": "{binary} server " + PROMETHEUS_FLAGS,
}
READY = {"victoria-metrics": "/health"}
APPENDED = {"victoria-metrics": "vm_rows_inserted_total"}
SCRAPE_SECONDS = 5
P95 = "histogram_quantile(0.95, sum by (le) (rate(asr_request_duration_seconds_bucket[5m])))"
QUERIES = {
    "sum of rates, instant": ("sum(rate(asr_total_requests[1m]))", None),
    "p95, instant": (P95, None),
    "sum of rates, 1 h, step 15 s": ("sum(rate(asr_total_requests[1m]))", 15),
    "p95, 1 h, step 60 s": (P95, 60),
    "p95, 1 h, step 15 s": (P95, 15),
    "p99 by pod, 1 h, step 60 s": (
        'histogram_quantile(0.99, sum by (le, pod) (rate(asr_request_duration_seconds_bucket{mode="streaming"}[2m])))',
        60,
    ),
    "one pod, 1 h, step 15 s": ('rate(asr_total_requests{pod="asr-worker-7"}[1m])', 15),
    "mean over a regex, 1 h, step 15 s": ('avg(asr_gpu_utilization_ratio{pod=~"asr-worker-1.*"})', 15),
}


def say(*words):
    print(time.strftime("%H:%M:%S"), *words, file=sys.stderr, flush=True)


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid):
    """Resident MiB now and at its highest."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    found = dict(re.findall(r"(VmRSS|VmHWM):\s+(\d+) kB", status))
    return int(found["VmRSS"]) / 1024, int(found["VmHWM"]) / 1024


def anonymous(pid):
    """Resident MiB that are no file's."""
    return int(re.search(r"RssAnon:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def bytes_below(folder, without=()):
    total = 0
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in without]
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                total += os.stat(os.path.join(root, name)).st_blocks * 512
    return total


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Engine:
    """One engine in a folder of its own, started on demand."""

    def __init__(self, name, options, config):
        self.name, self.folder, self.port = name, tempfile.mkdtemp(prefix=f"bench-{name}-"), free_port()
        config_file = os.path.join(self.folder, "prometheus.yml")
        pathlib.Path(config_file).write_text(config.format(folder=self.folder))
        words = COMMANDS[name].format(binary=options.binary, config=config_file, folder=self.folder, port=self.port)
        self.words, self.process = words.split(), None

    def start(self):
        """Starts it; seconds until it is ready."""
        began = time.monotonic()
        log = open(os.path.join(self.folder, "log"), "ab")
        self.process = subprocess.Popen(self.words, stdout=log, stderr=subprocess.STDOUT, cwd=self.folder)
        while time.monotonic() - began < 120:
            try:
                self.get(READY.get(self.name, "/-/ready"))
                return time.monotonic() - began
            except (urllib.error.URLError, ConnectionError):
                if self.process.poll() is not None:
                    sys.exit(f"{self.name} ended:\n" + pathlib.Path(self.folder, "log").read_text()[-3000:])
                time.sleep(0.01)
        sys.exit(f"{self.name} is not ready after two minutes")

    def stop(self, how=signal.SIGTERM):
        began = time.monotonic()
        self.process.send_signal(how)
        self.process.wait(120)
        return time.monotonic() - began

    def discard(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def pid(self):
        return self.process.pid

    @property
    def data(self):
        return os.path.join(self.folder, "data")

    def get(self, path, body=None):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=body)
        with urllib.request.urlopen(request, timeout=180) as answer:
            return answer.read()

    def appended(self):
        """Samples it took since its start."""
        name = APPENDED.get(self.name, "prometheus_tsdb_head_samples_appended_total")
        lines = self.get("/metrics").decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(rf"{name}[ {{]", line))

    def query(self, expression, end, start=None, step=None):
        words = {"query": expression, "time": end} if step is None else {
            "query": expression, "start": start, "end": end, "step": step}
        kind = "query" if step is None else "query_range"
        return json.loads(self.get(f"/api/v1/{kind}?" + urllib.parse.urlencode(words)))["data"]["result"]

    def bytes_at_rest(self):
        """Bytes after everything was sealed and merged, index included."""
        if self.name == "prometheus":
            name = json.loads(self.get("/api/v1/admin/tsdb/snapshot", b""))["data"]["name"]
            return bytes_below(os.path.join(self.data, "snapshots", name))
        if self.name == "victoria-metrics":
            self.get("/internal/force_flush")
            self.get("/internal/force_merge")
            time.sleep(10)
            return bytes_below(self.data, ("cache",))
        self.get("/api/v1/admin/tsdb/merge", b"")
        return bytes_below(self.data)


def timed(engine, expression, end, start, step):
    """CPU and wall milliseconds of a query, and how many series it answers."""
    rounds = 5
    began, cpu, walls = time.monotonic(), cpu_seconds(engine.pid), []
    for _ in range(rounds):
        began = time.monotonic()
        series = len(engine.query(expression, end, start, step))
        walls.append((time.monotonic() - began) * 1000)
    spent = (cpu_seconds(engine.pid) - cpu) / rounds * 1000
    return {"cpu_ms": round(spent, 1), "p50_ms": round(statistics.median(walls), 1), "series": series}


def scrape(name, options, hard):
    with contextlib.ExitStack() as stack:
        flags = ["--full-entropy", "--timestamps"] if hard else []
        pods = subprocess.Popen([options.pods_binary, "serve", *flags], stdout=subprocess.PIPE, text=True)
        stack.callback(pods.kill)
        address = pods.stdout.readline().strip()
        engine = Engine(name, options, (
            f"global: {{{{scrape_interval: {SCRAPE_SECONDS}s, scrape_timeout: 4s}}}}\n"
            "scrape_configs:\n- job_name: asr\n  file_sd_configs: [{{files: ['{folder}/pods.json']}}]\n"
        ))
        stack.callback(engine.discard)

        def discover(first, pods=options.pods):
            words = [options.pods_binary, "targets", "--address", address, "--first", str(first)]
            document = subprocess.check_output([*words, "--pods", str(pods)])
            fresh = pathlib.Path(engine.folder, "pods.json.new")
            fresh.write_bytes(document)
            fresh.rename(pathlib.Path(engine.folder, "pods.json"))

        discover(0, 0)
        empty_start = engine.start()
        time.sleep(3)
        empty, empty_anonymous = memory(engine.pid)[0], anonymous(engine.pid)
        discover(0)
        say(name, "hard" if hard else "scrape", f"ready after {empty_start:.2f} s, warming up")
        time.sleep(options.warm)
        at = {"samples": engine.appended(), "cpu": cpu_seconds(engine.pid), "pods": cpu_seconds(pods.pid),
              "bytes": bytes_below(engine.data), "time": time.monotonic()}
        seconds, resident, first = options.hard_seconds if hard else options.seconds, [], 0
        while time.monotonic() - at["time"] < seconds:
            time.sleep(5)
            resident.append(memory(engine.pid)[0])
            if hard and (time.monotonic() - at["time"]) // 60 > first // (options.pods // 10):
                first += options.pods // 10
                discover(first)
        samples = engine.appended() - at["samples"]
        million = samples / 1e6
        active = options.pods * 100
        return {
            "samples": round(samples),
            "samples per second": round(samples / (time.monotonic() - at["time"])),
            "CPU-s per million scraped samples": round((cpu_seconds(engine.pid) - at["cpu"]) / million, 2),
            "CPU-s per million, of the pods": round((cpu_seconds(pods.pid) - at["pods"]) / million, 2),
            "resident MiB, empty process": round(empty, 1),
            "anonymous resident MiB, empty process": round(empty_anonymous, 1),
            "resident MiB, median": round(statistics.median(resident), 1),
            "resident MiB, last": round(resident[-1], 1),
            "resident KiB per active series over empty": round((statistics.median(resident) - empty) * 1024 / active, 2),
            "bytes per sample written": round((bytes_below(engine.data) - at["bytes"]) / samples, 2),
            "s to stop": round(engine.stop(), 2),
        }


def push(engine, options, end, *words):
    start_ms = (end - options.steps * 15) * 1000
    command = [options.pods_binary, "push", "--address", f"127.0.0.1:{engine.port}", "--start-ms", str(start_ms)]
    before = cpu_seconds(engine.pid)
    pushed = json.loads(subprocess.check_output([*command, *words]))
    return pushed, (cpu_seconds(engine.pid) - before) / pushed["samples"] * 1e6


def history(name, options):
    with contextlib.ExitStack() as stack:
        engine = Engine(name, options, f"global: {{{{scrape_interval: {SCRAPE_SECONDS}s}}}}\n")
        stack.callback(engine.discard)
        engine.start()
        end = int(time.time()) // 15 * 15 - 15
        start = end - options.steps * 15
        pushed, cpu = push(engine, options, end, "--pods", str(options.pods), "--steps", str(options.steps))
        samples = pushed["samples"]
        say(name, f"pushed {samples} samples, {pushed['waited_seconds']:.1f} s waited")
        result = {
            "samples": samples,
            "CPU-s per million remote-written samples": round(cpu, 2),
            "resident MiB after the push": round(memory(engine.pid)[0], 1),
        }
        if name == "victoria-metrics":
            engine.get("/internal/force_flush")
            time.sleep(3)
        result["bytes per sample before compaction"] = round(bytes_below(engine.data) / samples, 2)
        queries = {}
        for title, (expression, step) in QUERIES.items():
            queries[title] = timed(engine, expression, end, start + 300, step)
        result["queries"] = queries
        engine.stop(signal.SIGKILL)
        result["s from kill -9 to ready"] = round(engine.start(), 2)
        count = engine.query('count({job="asr"})', end - 15)
        result["series after kill -9"] = int(float(count[0]["value"][1])) if count else 0
        result["bytes per sample at rest, index included"] = round(engine.bytes_at_rest() / samples, 3)
        result["resident MiB, highest after restart"] = round(memory(engine.pid)[1], 1)
        result["s to stop"] = round(engine.stop(), 2)
        return result


def single_series(name, options):
    """Remote write as the least considerate senders do it."""
    with contextlib.ExitStack() as stack:
        engine = Engine(name, options, f"global: {{{{scrape_interval: {SCRAPE_SECONDS}s}}}}\n")
        stack.callback(engine.discard)
        engine.start()
        end = int(time.time()) // 15 * 15 - 15
        words = ["--pods", "100", "--steps", "40", "--samples-per-series", "10", "--series-per-request", "1"]
        pushed, cpu = push(engine, options, end, "--full-entropy", *words)
        return {
            "samples, one series in each request": pushed["samples"],
            "CPU-s per million, one series in each request": round(cpu, 2),
            "bytes per sample before compaction, one series": round(bytes_below(engine.data) / pushed["samples"], 2),
            "bytes per sample at rest, one series": round(engine.bytes_at_rest() / pushed["samples"], 3),
        }


def hard(name, options):
    return scrape(name, options, hard=True) | single_series(name, options)


RUNS = {"scrape": lambda name, options: scrape(name, options, hard=False), "history": history, "hard": hard}


def table(title, results):
    lines = [f"### {title}", "", "| | " + " | ".join(results) + " |", "|---|" + "---|" * len(results)]
    first = next(iter(results.values()))
    for key in (key for key in first if key != "queries"):
        lines.append(f"| {key} | " + " | ".join(str(result[key]) for result in results.values()) + " |")
    for query in first.get("queries", {}):
        cells = [result["queries"][query] for result in results.values()]
        lines.append(f"| {query}: CPU ms (p50 ms) | " + " | ".join(f"{c['cpu_ms']} ({c['p50_ms']})" for c in cells) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, type=os.path.abspath)
    parser.add_argument("--pods-binary", required=True, type=os.path.abspath)
    parser.add_argument("--engines", default="prometheus,victoria-metrics,crescendo")
    parser.add_argument("--runs", default="scrape,history,hard")
    parser.add_argument("--pods", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=240, help="samples of each series in `history`, 15 s apart")
    parser.add_argument("--warm", type=int, default=60, help="seconds before a scrape run counts")
    parser.add_argument("--seconds", type=int, default=150, help="seconds that count in `scrape`")
    parser.add_argument("--hard-seconds", type=int, default=2100, help="seconds that count in `hard`")
    parser.add_argument("--output", help="all figures as JSON")
    options = parser.parse_args()
    names = [name for name in options.engines.split(",") if name == "crescendo" or shutil.which(name)]
    for missing in set(options.engines.split(",")) - set(names):
        say(f"{missing} is not installed and left out")
    everything = {}
    for run in options.runs.split(","):
        # The long run takes little of a core, so that the engines can share its time; memory does not mind.
        with concurrent.futures.ThreadPoolExecutor(len(names) if run == "hard" else 1) as pool:
            everything[run] = dict(zip(names, pool.map(lambda name: RUNS[run](name, options), names)))
        print(table(run, everything[run]), flush=True)
        if options.output:
            pathlib.Path(options.output).write_text(json.dumps(everything, indent=1))


main()
