#!/bin/bash
# A Ray cluster with several simulated machines on one computer: to test cluster behavior, or to use `ig3d submit` on a laptop.
#
#   bash clusters/local.sh 3 2        three machines with two CPUs each; Ctrl-C stops everything it started
#
# Then run the two lines that it prints in another terminal: it prints them once the cluster takes jobs. It is free of
# charge and leaves a folder of logs under /tmp.
#
# Variables, all optional; the defaults leave room for another Ray on this computer:
#   IG3D_PORT             port of the cluster itself, 6479; the next two, and two for each further machine, are taken too
#   IG3D_DASHBOARD_PORT   port of the dashboard, to which jobs are sent, 8265
#   IG3D_READY_SECONDS    how long to wait until the cluster takes jobs, 120
set -euo pipefail

refuse() {
    echo "local.sh: $1" >&2
    exit 2
}

machines=${1:-2}
cpus=${2:-2}
port=${IG3D_PORT:-6479}
dashboard=${IG3D_DASHBOARD_PORT:-8265}
ready=${IG3D_READY_SECONDS:-120}
for number in "$machines" "$cpus" "$port" "$dashboard" "$ready"; do
    [[ $number =~ ^[1-9][0-9]{0,4}$ ]] || refuse "$number: give whole numbers above 0: bash clusters/local.sh MACHINES CPUS"
done
command -v ray >/dev/null || refuse "ray is not in the PATH; activate the environment that ig3d is installed in"

# The workers' ports lie where none of the others do.
fixed=("$dashboard" "$port" $((port + 1)))
for ((i = 1; i <= machines; i++)); do fixed+=($((port + 2 * i))); done
workers=""
for lowest in 21000 12000 31000 41000; do
    free=yes
    for one in "${fixed[@]}"; do
        if ((one >= lowest && one < lowest + 8000)); then free=""; fi
    done
    if [ -n "$free" ]; then workers=$lowest && break; fi
done
[ -n "$workers" ] || refuse "IG3D_PORT $port, IG3D_DASHBOARD_PORT $dashboard: choose ports closer to each other"
for one in "${fixed[@]}"; do
    ((one < 65536)) || refuse "port $one: there is none; choose a lower IG3D_PORT"
    if (exec 3<>"/dev/tcp/127.0.0.1/$one") 2>/dev/null; then
        refuse "port $one is in use; set IG3D_PORT or IG3D_DASHBOARD_PORT to others"
    fi
done
[ "$(printf '%s\n' "${fixed[@]}" | sort | uniq -d | head -n 1)" = "" ] ||
    refuse "IG3D_DASHBOARD_PORT $dashboard: the cluster itself uses it; choose another"

# Under /tmp whatever TMPDIR says: the path of a socket has room for about a hundred characters.
folder=$(mktemp -d /tmp/ig3d.XXXXXX)
token=$folder/token
(umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$token")
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$token"

pids=()
# Stops only the processes started here: `ray stop` would stop every Ray instance on this machine.
finish() {
    trap - EXIT INT TERM
    for pid in "${pids[@]}"; do kill -TERM -- "-$pid" 2>/dev/null || true; done
    for _ in {1..30}; do
        local left=""
        for pid in "${pids[@]}"; do kill -0 -- "-$pid" 2>/dev/null && left=yes; done
        [ -n "$left" ] || break
        sleep 0.1
    done
    for pid in "${pids[@]}"; do kill -KILL -- "-$pid" 2>/dev/null || true; done
    rm -f "$token"
}
trap finish EXIT INT TERM

# Each machine has its own folder, as real machines do: in a shared one, what one unpacks for a job another one removes.
start() {
    local number=$1
    shift
    setsid ray start --block --disable-usage-stats --num-cpus "$cpus" --temp-dir "$folder/$number" \
        --min-worker-port "$workers" --max-worker-port $((workers + 7999)) \
        --dashboard-agent-listen-port $((port + 2 * number)) "$@" >>"$folder/log" 2>&1 &
    pids+=("$!")
}

alive() {
    for pid in "${pids[@]}"; do
        kill -0 "$pid" 2>/dev/null && continue
        echo "local.sh: a machine did not start; the end of $folder/log:" >&2
        tail -n 20 "$folder/log" >&2
        exit 1
    done
}

# What 127.0.0.1:PORT answers to a PATH.
asked() {
    exec 3<>"/dev/tcp/127.0.0.1/$1" || return 1
    printf 'GET %s HTTP/1.0\r\nAuthorization: Bearer %s\r\n\r\n' "$2" "$(cat "$token")" >&3
    timeout 5 cat <&3 || true
    exec 3>&-
}

# Whether it answers with success.
answers() { [[ $(asked "$1" "$2") == HTTP/?.?" 200 "* ]]; }

# Waits for a command to succeed, as long as what was started lives.
until_ready() {
    until ("$@") >/dev/null 2>&1; do
        alive
        ((SECONDS < ready)) || refuse "not ready after $ready s ($*); see $folder/log, or raise IG3D_READY_SECONDS"
        sleep 0.5
    done
}

# The dashboard is asked, not `ray status`, which takes two seconds of a processor each time.
nodes_are_up() { (($(asked "$dashboard" '/nodes?view=summary' | grep -o '"state": *"ALIVE"' | wc -l) >= $1)); }

start 1 --head --port "$port" --dashboard-port "$dashboard" --dashboard-host 127.0.0.1 \
    --ray-client-server-port $((port + 1))
# One after another: two that start in the same instant on one machine may wait for each other for ever.
until_ready nodes_are_up 1
for ((i = 2; i <= machines; i++)); do
    start "$i" --address "127.0.0.1:$port"
    until_ready nodes_are_up "$i"
done
# The dashboard takes jobs, the head's agent starts them.
until_ready answers "$dashboard" /api/jobs/
until_ready answers $((port + 2)) /api/local_raylet_healthz

echo "export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$token"
echo "ig3d submit search_spaces/faces.yaml --storage $PWD/runs --dashboard http://127.0.0.1:$dashboard --follow"
echo "$machines machines with $cpus CPUs each; Ctrl-C stops them; their output: $folder/log"
wait
