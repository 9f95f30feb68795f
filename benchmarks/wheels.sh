#!/usr/bin/env bash
# Collect into .whl/ what this package needs beyond torch, torchvision, Lightning, matplotlib, scikit-image and pytest:
# wheels for a Linux machine (x86-64, Python 3.12) without a network, in the versions that .venv has.
#
#   benchmarks/wheels.sh && python3 -m pip install --no-index --no-deps --target .site .whl/*.whl    # there
set -euo pipefail
python=${PYTHON:-.venv/bin/python} folder=${1:-.whl}
names='hydra-core|omegaconf|wandb|imagehash|pywavelets|kornia|kornia[-_]rs|pooch|simplejpeg'
names+='|platformdirs|pydantic|pydantic[-_]core|annotated-types|typing[-_]extensions|typing-inspection|xxhash'
names+='|protobuf|googleapis-common-protos|opentelemetry-[a-z-]+' # wandb's
platforms=()
for n in 17 24 27 28 31 34; do platforms+=(--platform "manylinux_2_${n}_x86_64"); done
mapfile -t wanted < <("$python" -m pip freeze 2> /dev/null | grep -iE "^($names)==")
mkdir -p "$folder"
rm -f "$folder"/*.whl
"$python" -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
    "${platforms[@]}" --platform manylinux2014_x86_64 --dest "$folder" "${wanted[@]}"
# Hydra's parser is published as source only.
"$python" -m pip wheel --quiet --no-deps --wheel-dir "$folder" antlr4-python3-runtime==4.9.3
du -sh "$folder"
