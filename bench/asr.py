"""Transcription next to faster-whisper: same model files, same recordings, one run.

Ours is measured through its HTTP API, as users meet it; the peer in process, which favours the peer.
CPU seconds are user and system time of the whole process, from its own accounts; resident memory is the
kernel's VmRSS after the last recording, the peak its VmHWM.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import time
import urllib.request
import wave

ROUNDS = 3


def accounts(pid):
    """CPU seconds, resident MiB and peak MiB of a process."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    memory = {key: int(value) / 1024 for key, value in re.findall(r"(VmRSS|VmHWM):\s+(\d+) kB", status)}
    return cpu, memory["VmRSS"], memory["VmHWM"]


def seconds(path):
    with wave.open(str(path)) as recording:
        return recording.getnframes() / recording.getframerate()


def upload(url, path):
    boundary = "crescendo-bench"
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{path.name}"\r\n\r\n'
    ).encode()
    body = head + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    request = urllib.request.Request(
        f"{url}/v1/audio/transcriptions", body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)["text"]


def ours(binary, model, recordings):
    process = subprocess.Popen(
        [binary, "asr", "--asr.listen-address", "127.0.0.1:0", "--model", model],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )
    try:
        url = None
        for line in process.stdout:
            found = re.match(r"listening on (\S+)", line)
            if found:
                url = f"http://{found.group(1)}"
                break
        if url is None:
            sys.exit("crescendo asr printed no address")
        while True:
            try:
                urllib.request.urlopen(f"{url}/ready", timeout=1)
                break
            except OSError:
                time.sleep(0.1)
        load = urllib.request.urlopen(f"{url}/metrics").read().decode()
        load = float(re.search(r"^asr_model_load_time_seconds(?:{.*})? (\S+)", load, re.M).group(1))
        begin, _, _ = accounts(process.pid)
        started = time.monotonic()
        texts = [upload(url, path) for _ in range(ROUNDS) for path in recordings]
        wall = time.monotonic() - started
        end, resident, peak = accounts(process.pid)
        return texts, wall, end - begin, resident, peak, load
    finally:
        process.terminate()
        process.wait()


def peer(model, recordings):
    """Runs in a process of its own, so that the accounts are those of the peer alone."""
    script = f"""
import json, time, os, sys
sys.path.insert(0, {str(pathlib.Path(__file__).parent)!r})
import asr
from faster_whisper import WhisperModel
started = time.monotonic()
model = WhisperModel({str(model)!r}, device="cpu", compute_type="COMPUTE", cpu_threads=1)
load = time.monotonic() - started
begin, _, _ = asr.accounts(os.getpid())
started = time.monotonic()
texts = []
for _ in range(asr.ROUNDS):
    for path in {[str(path) for path in recordings]!r}:
        segments, _ = model.transcribe(path, beam_size=BEAM, language="en")
        texts.append("".join(segment.text for segment in segments))
wall = time.monotonic() - started
end, resident, peak = asr.accounts(os.getpid())
print(json.dumps([texts, wall, end - begin, resident, peak, load]))
"""
    for compute, beam in (("float32", 1), ("float32", 5), ("int8", 1), ("int8", 5)):
        answer = subprocess.run(
            [sys.executable, "-c", script.replace("COMPUTE", compute).replace("BEAM", str(beam))],
            check=True, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        yield f"{compute}, beam {beam}", json.loads(answer.stdout.splitlines()[-1])


def words(text):
    """As `load` normalises them: case, punctuation, small numbers and titles do not count."""
    numbers = "zero one two three four five six seven eight nine ten".split()
    titles = {"mr": "mister", "mrs": "missus", "dr": "doctor"}
    text = re.sub(r"[^a-z0-9' ]", " ", text.lower().replace("\u2019", "'"))
    found = (word.strip("'") for word in text.split())
    return [numbers[int(w)] if w.isdigit() and int(w) < 11 else titles.get(w, w) for w in found if w]


def edits(expected, found):
    row = list(range(len(found) + 1))
    for i, word in enumerate(expected, 1):
        previous, row[0] = row[0], i
        for j, other in enumerate(found, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (word != other))
    return row[-1]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--audio", required=True, type=pathlib.Path)
    options = parser.parse_args()
    recordings = sorted(path for path in options.audio.glob("*.wav") if path.with_suffix(".txt").exists())
    if not recordings:
        sys.exit(f"no recordings with texts in {options.audio}")
    audio = ROUNDS * sum(seconds(path) for path in recordings)
    references = [words(path.with_suffix(".txt").read_text()) for path in recordings] * ROUNDS
    total = sum(map(len, references))
    print(f"{time.strftime('%Y-%m-%d', time.gmtime())}: `bench/asr.py --binary … --model … --audio …`")
    print(f"{len(recordings)} recordings, {audio / ROUNDS:.1f} s of speech, {ROUNDS} rounds, one thread\n")
    print("| engine | CPU-s per audio-s | wall RTF | resident MiB | peak MiB | load s | WER % |")
    print("|---|---|---|---|---|---|---|")

    def row(name, result):
        texts, wall, cpu, resident, peak, load = result
        wrong = sum(edits(expected, words(text)) for expected, text in zip(references, texts))
        print(
            f"| {name} | {cpu / audio:.4f} | {wall / audio:.4f} | {resident:.0f} | {peak:.0f} "
            f"| {load:.2f} | {100 * wrong / total:.1f} |", flush=True,
        )

    row("crescendo asr, over HTTP", ours(options.binary, options.model, recordings))
    for variant, result in peer(options.model, recordings):
        row(f"faster-whisper 1.2.1 {variant}, in process", result)


if __name__ == "__main__":
    main()
