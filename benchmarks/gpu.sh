#!/bin/sh
# What one H100 or H200 says of the training step, in less than nine minutes:
#
#     sh benchmarks/gpu.sh                  # at the root of the repository, with torch and transformers installed
#     WHEELS=wheels sh benchmarks/gpu.sh    # a folder of wheels for a machine without a network (pip download click pydantic)
#     DEVICE=cpu sh benchmarks/gpu.sh       # the same commands with a tiny model, to see that all of them run
#
# Reads no tables, so that neither Polars nor pyarrow is needed. TRL and Liger take part where they are installed.
set -u
DEVICE=${DEVICE:-cuda}
OUT=${OUT:-.}
PYTHON=${PYTHON:-python}
REPORT=$OUT/gpu-$DEVICE.md
PACKAGES=$(mktemp -d)
trap 'rm -rf "$PACKAGES"' EXIT
if [ -n "${WHEELS:-}" ]; then
    $PYTHON -m pip install --quiet --no-index --no-deps --target "$PACKAGES" "$WHEELS"/*.whl || exit 1
fi
export PYTHONPATH="$PWD:$PACKAGES${PYTHONPATH:+:$PYTHONPATH}" HF_HUB_OFFLINE=1
: > "$REPORT"
failed=0

measure() {  # SECONDS MODULE OPTIONS…
    seconds=$1
    shift
    printf '    python -m %s\n\n' "$*" >> "$REPORT"
    timeout "$seconds" "$PYTHON" -m "$@" --device "$DEVICE" >> "$REPORT" || {
        failed=1
        printf 'FAILED, or longer than %s s.\n\n' "$seconds" >> "$REPORT"
    }
}

if [ "$DEVICE" = cpu ]; then
    measure 120 benchmarks.attention_equality --model tiny
    measure 120 benchmarks.train --model tiny --repetitions 1 --warmup 1 --side ours --side "HF, by group"
    measure 120 benchmarks.train --model tiny --memory --side ours
else
    for model in 0.5b 1.5b; do
        measure 45 benchmarks.attention_equality --model $model
        measure 140 benchmarks.train --model $model --repetitions 5
        measure 70 benchmarks.train --model $model --memory --side ours --side "ours, flex" --side "HF, by group"
    done
fi
cat "$REPORT"
exit $failed
