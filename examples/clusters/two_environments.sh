#!/bin/bash
# two_environments.sh PROMPTS RUN MODEL: one round with vLLM and the trainer in an environment each. Stages meet in files.
#   python -m venv gen   && gen/bin/pip   install 'grao-pipeline[vllm,score]'
#   python -m venv train && train/bin/pip install 'grao-pipeline[train,prompts]'
set -euo pipefail
gen=${GEN:-gen/bin} train=${TRAIN:-train/bin}
"$gen/grao"   generate   "$1" "$2/groups" --model "$3" ${GENERATE_OPTIONS:-}
"$gen/grao"   score      "$2/groups" "$2/scores" ${SCORE_OPTIONS:---reward gsm8k}
"$train/grao" advantages "$2/groups" "$2/advantages" --scores "$2/scores"
"$train/grao" train      "$2/groups" "$2/advantages" "$2/model" --model "$3" ${TRAIN_OPTIONS:-}
