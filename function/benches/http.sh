#!/usr/bin/env bash
# The figures of the README: start, throughput with 64 clients, memory, size. Needs wrk, curl and python3.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build --release --quiet
binary=target/release/main
echo "binary: $(stat -c %s "$binary") bytes"

python3 - "$binary" <<'PY'
import base64, json, os, socket, subprocess, sys, time

def start():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    text = b"The quick brown fox jumps over the lazy dog and runs"
    body = json.dumps({"message": {"messageId": "1", "data": base64.b64encode(text).decode()}}).encode()
    head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n"
    request = head + b"content-length: %d\r\n\r\n" % len(body) + body
    begin = time.perf_counter()
    environment = {**os.environ, "PORT": str(port), "RUST_LOG": "error"}
    process = subprocess.Popen([sys.argv[1]], env=environment, stdout=subprocess.DEVNULL)
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", port))
            break
        except OSError:
            time.sleep(0.0005)
    connection.sendall(request)
    answer = b""
    while part := connection.recv(65536):
        answer += part
    took = time.perf_counter() - begin
    process.terminate()
    process.wait()
    assert b" 200 OK" in answer[:20], answer[:200]
    return took * 1000

times = sorted(start() for _ in range(11))
print("start to first answer: median %.1f ms, worst %.1f ms" % (times[5], times[-1]))
PY

PORT=18080 RUST_LOG=error "$binary" >/dev/null &
process=$!
trap 'kill $process 2>/dev/null || true' EXIT
until curl --silent --fail --output /dev/null localhost:18080/health/ready; do sleep 0.05; done
wrk --threads 1 --connections 64 --duration 8s --script function/benches/post.lua http://127.0.0.1:18080/ |
  grep -E 'Latency|Requests/sec|Non-2xx'
grep VmHWM "/proc/$process/status"
