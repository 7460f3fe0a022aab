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
command="cd ~/mrnn-jax && python3 -m mrnn_jax.main --coordinator=auto$flags"

if [ -n "$dry_run" ]; then
  echo "gcloud compute tpus tpu-vm ssh $name --zone=$zone --worker=all" \
    "--command=\"$command\""
  exit
fi
exec gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all \
  --command="$command"
