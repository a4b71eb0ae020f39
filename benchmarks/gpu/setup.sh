#!/bin/sh
# Sets up what pack.py packed, in the folder $1, without a network. Nothing outside of that folder is changed.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
to=${1:?"usage: sh setup.sh FOLDER"}
python=${PYTHON:-python3}
mkdir -p "$to/checkout"
to=$(cd "$to" && pwd)
tar -xzf "$here/checkout.tar.gz" -C "$to/checkout"
tar -xzf "$here/site.tar.gz" -C "$to"
cat > "$to/env.sh" <<END
export PYTHONPATH="$to/checkout:$to/site"
export RECONFIG_DATA="$here/data"
END
. "$to/env.sh"
cd "$to/checkout"
"$python" -c '
import importlib, sys
names = "torch torchvision accelerate fvcore.nn cattrs lazy_loader pyautoattack pyarrow rich safetensors sklearn scipy"
names += " tyro jinja2 matplotlib PIL pytest reconfig.harness.studies.comparison benchmarks.evidence"
wrong = []
for name in names.split():
    try:
        importlib.import_module(name)
    except Exception as error:
        wrong.append(f"{name}: {type(error).__name__}: {error}")
if wrong:
    sys.exit("cannot be imported here:\n  " + "\n  ".join(wrong))
import torch
print("torch", torch.__version__, "on", torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU")
'
if [ -d "$here/evidence" ]; then
    "$python" benchmarks/evidence.py --out "$to/evidence" --join "$here/evidence" --minutes 0
fi
echo "ready: . $to/env.sh && cd $to/checkout && $python benchmarks/evidence.py --out $to/evidence --minutes 9"
