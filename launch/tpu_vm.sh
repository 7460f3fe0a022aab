#!/bin/sh
# Training on all hosts of a Cloud TPU slice.
#
#   launch/tpu_vm.sh [--dry_run] NAME ZONE FLAG...
#   launch/tpu_vm.sh my-v5e us-west4-a --flagfile=flickr8k.flags \
#     --data_dir=gs://BUCKET/data --workdir=gs://BUCKET/run
#
# The repository must lie in ~/mrnn-jax of every host, with its requirements and
# jax[tpu] installed (see README.md).  The same command goes on with a run that was
# stopped, also on another slice.
#
# A run that something else has stopped (75) is started again.  A signal to this
# script is passed on to all hosts, and it ends when they have saved.
#
# Exit code: as gcloud gives it, that of the program; 75 stopped, the same command
# goes on.
set -u

dry_run=
if [ "${1-}" = --dry_run ]; then
  dry_run=1
  shift
fi
if [ $# -lt 3 ]; then
  echo "usage: launch/tpu_vm.sh [--dry_run] NAME ZONE FLAG..." >&2
  exit 2
fi
name=$1
zone=$2
shift 2

# Words of a remote shell.
flags=
for word; do
  flags="$flags '$(printf %s "$word" | sed "s/'/'\\\\''/g")'"
done
# exec: the signal of `stop` below must reach the program alone.
command="cd ~/mrnn-jax && exec python3 -m mrnn_jax.main --coordinator=auto$flags"

if [ -n "$dry_run" ]; then
  echo "gcloud compute tpus tpu-vm ssh $name --zone=$zone --worker=all" \
    "--command=\"$command\""
  exit
fi

on_all_hosts() {
  gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all \
    --command="$1"
}

# What runs on the hosts does not hear of a signal to gcloud.
stopped=
# shellcheck disable=SC2317,SC2329  # By the trap.
stop() {
  stopped=1
  on_all_hosts "pkill -TERM -f 'mrnn_jax[.]main'"
}
trap stop TERM INT

while :; do
  on_all_hosts "$command" &
  pid=$!
  # A signal interrupts wait, not the run: wait again for what is left.
  while
    wait "$pid"
    code=$?
    kill -0 "$pid" 2>/dev/null
  do :; done
  # Told to end before it could listen: nothing is lost.
  [ "$code" -ne 143 ] || code=75
  if [ "$code" -ne 75 ] || [ -n "$stopped" ]; then
    exit "$code"
  fi
  echo "launch/tpu_vm.sh: unfinished (exit 75): starting again" >&2
  sleep 1
  [ -z "$stopped" ] || exit 75
done
