#!/bin/bash
# A Ray cluster with several simulated machines on one computer: to test cluster behavior, or to use `ig3d submit` on a laptop.
#
#   bash clusters/local.sh 3 2        three machines with two CPUs each; Ctrl-C stops everything it started
#
# Then run the two lines that it prints in another terminal. It is free of charge and leaves a folder of logs under /tmp.
set -euo pipefail
machines=${1:-2}
cpus=${2:-2}
port=${IG3D_PORT:-6479}
dashboard=${IG3D_DASHBOARD_PORT:-8265}
folder=$(mktemp -d /tmp/ig3d.XXXXXX)

token=$folder/token
(umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$token")
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$token"

pids=()
# Stops only the processes started here: `ray stop` would stop every Ray instance on this machine.
finish() {
    trap - EXIT INT TERM
    for pid in "${pids[@]}"; do kill -TERM -- "-$pid" 2>/dev/null || true; done
    sleep 3
    for pid in "${pids[@]}"; do kill -KILL -- "-$pid" 2>/dev/null || true; done
    rm -f "$token"
}
trap finish EXIT INT TERM

start() {
    setsid ray start --block --disable-usage-stats --num-cpus "$cpus" "$@" >>"$folder/log" 2>&1 &
    pids+=("$!")
}

start --head --port "$port" --dashboard-port "$dashboard" --dashboard-host 127.0.0.1 --temp-dir "$folder/ray" \
    --ray-client-server-port $((port + 1)) --dashboard-agent-listen-port $((port + 2))
until ray status --address "127.0.0.1:$port" >/dev/null 2>&1; do
    kill -0 "${pids[0]}" 2>/dev/null || { cat "$folder/log" >&2; exit 1; }
    sleep 1
done
for ((i = 2; i <= machines; i++)); do
    start --address "127.0.0.1:$port" --dashboard-agent-listen-port $((port + 2 * i))
done

echo "export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$token"
echo "ig3d submit search_spaces/faces.yaml --storage $PWD/runs --dashboard http://127.0.0.1:$dashboard --follow"
echo "$machines machines with $cpus CPUs each; Ctrl-C stops them; their output: $folder/log"
wait
