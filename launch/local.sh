#!/bin/sh
# N processes on this machine, one GPU each where there are GPUs.
#
#   launch/local.sh [--dry_run] N FLAG...
#   launch/local.sh 8 --flagfile=flickr8k.flags --workdir=runs/flickr8k
#
# Exit code: 0 all is done; 75 stopped, the same command goes on; else a fault.
set -u

dry_run=
if [ "${1-}" = --dry_run ]; then
  dry_run=1
  shift
fi
case "${1-}" in
'' | 0 | *[!0-9]*)
  echo "usage: launch/local.sh [--dry_run] N FLAG..." >&2
  exit 2
  ;;
esac
processes=$1
shift

python=${PYTHON:-python3}
if [ -z "${PORT-}" ]; then
  PORT=$("$python" -c 'import socket
s = socket.socket(); s.bind(("localhost", 0)); print(s.getsockname()[1])') ||
    exit
fi

# Quote for printing, so that what is printed can be run.
quoted() {
  for word; do
    printf " '%s'" "$(printf %s "$word" | sed "s/'/'\\\\''/g")"
  done
}

if [ -n "$dry_run" ]; then
  p=0
  while [ "$p" -lt "$processes" ]; do
    echo "CUDA_VISIBLE_DEVICES=$p $python -m mrnn_jax.main$(quoted "$@")" \
      "--coordinator=localhost:$PORT --num_processes=$processes" \
      "--process_id=$p &"
    p=$((p + 1))
  done
  echo wait
  exit
fi

# A signal that comes before all of them are there waits until they are.
early=
trap early=1 TERM INT

pids=
p=0
while [ "$p" -lt "$processes" ]; do
  CUDA_VISIBLE_DEVICES=$p "$python" -m mrnn_jax.main "$@" \
    --coordinator="localhost:$PORT" --num_processes="$processes" \
    --process_id="$p" &
  pids="$pids $!"
  p=$((p + 1))
done

# The first signal has them save; the second ends them at once.
# shellcheck disable=SC2086
trap 'kill -TERM $pids 2>/dev/null' TERM INT
# shellcheck disable=SC2086
[ -z "$early" ] || kill -TERM $pids 2>/dev/null

code=0
for pid in $pids; do
  # A signal interrupts wait, not the process: wait again for what is left.
  while
    wait "$pid"
    status=$?
    kill -0 "$pid" 2>/dev/null
  do :; done
  # Told to end before it could listen: nothing is lost.
  [ "$status" -ne 143 ] || status=75
  # A fault tells more than a stop.
  case $code in 0 | 75) [ "$status" -eq 0 ] || code=$status ;; esac
done
exit "$code"
