#!/bin/sh
# N processes on this machine, one GPU each where there are GPUs.
#
#   launch/local.sh [--dry_run] N FLAG...
#   launch/local.sh 8 --flagfile=flickr8k.flags --workdir=runs/flickr8k
#
# CUDA_VISIBLE_DEVICES says which GPUs these are; by default the first N.
#
# Processes that something else has stopped (75) are started again.  A signal to
# this script is passed on, and it ends when they have saved.
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

# Print the GPU of a process; an empty list and -1 mean that there is none.
gpu_of() {
  case "${CUDA_VISIBLE_DEVICES-unset}" in
  unset) echo "$1" ;;
  '' | -1) echo "$CUDA_VISIBLE_DEVICES" ;;
  *) echo "$CUDA_VISIBLE_DEVICES" | cut -d, -f"$(($1 + 1))" ;;
  esac
}

case "${CUDA_VISIBLE_DEVICES-}" in
'' | -1) ;;
*)
  # The first and the last one may be empty: count what lies between commas.
  gpus=$(echo "$CUDA_VISIBLE_DEVICES" | tr , '\n' | grep -c .)
  if [ "$gpus" -lt "$processes" ]; then
    echo "launch/local.sh: $processes processes want a GPU each, but" \
      "CUDA_VISIBLE_DEVICES=$CUDA_VISIBLE_DEVICES names $gpus: start fewer, or" \
      "name more." >&2
    exit 2
  fi
  ;;
esac

python=${PYTHON:-python3}
given_port=${PORT-}
choose_port() {
  [ -n "$given_port" ] && port=$given_port && return
  port=$("$python" -c 'import socket
s = socket.socket(); s.bind(("localhost", 0)); print(s.getsockname()[1])')
}
choose_port || exit

# Quote for printing, so that what is printed can be run.
quoted() {
  for word; do
    printf " '%s'" "$(printf %s "$word" | sed "s/'/'\\\\''/g")"
  done
}

if [ -n "$dry_run" ]; then
  p=0
  while [ "$p" -lt "$processes" ]; do
    echo "CUDA_VISIBLE_DEVICES=$(gpu_of "$p") $python -m" \
      "mrnn_jax.main$(quoted "$@")" \
      "--coordinator=localhost:$port --num_processes=$processes" \
      "--process_id=$p &"
    p=$((p + 1))
  done
  echo wait
  exit
fi

# The first signal has them save; the second ends them at once.  One that comes
# before all of them are there waits until they are.
stopped=
started=
pids=
# shellcheck disable=SC2317,SC2329  # By the trap.
stop() {
  stopped=1
  # shellcheck disable=SC2086
  [ -z "$started" ] || kill -TERM $pids 2>/dev/null
}
trap stop TERM INT

while :; do
  pids=
  p=0
  while [ "$p" -lt "$processes" ]; do
    CUDA_VISIBLE_DEVICES=$(gpu_of "$p") "$python" -m mrnn_jax.main "$@" \
      --coordinator="localhost:$port" --num_processes="$processes" \
      --process_id="$p" &
    pids="$pids $!"
    p=$((p + 1))
  done
  started=1
  # shellcheck disable=SC2086
  [ -z "$stopped" ] || kill -TERM $pids 2>/dev/null

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
  started=
  if [ "$code" -ne 75 ] || [ -n "$stopped" ]; then
    exit "$code"
  fi
  echo "launch/local.sh: unfinished (exit 75): starting again" >&2
  sleep 1
  [ -z "$stopped" ] || exit 75
  choose_port || exit
done
