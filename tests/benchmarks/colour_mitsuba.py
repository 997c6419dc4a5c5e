"""The wall's colour by Mitsuba 3, for colour.py: its public tutorial's recipe, timed from the start of the process."""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("--rivals")
parser.add_argument("--file", type=Path)
parser.add_argument("--begun", type=float)
options = parser.parse_args()
sys.path.insert(0, options.rivals)
sys.argv = sys.argv[:1]  # the module reads it
import w5_gi_mitsuba as rival  # noqa: E402

mi, dr = rival.start("llvm_ad_rgb")
scene = mi.load_dict(rival.cornell(mi, 128))
integrator = mi.load_dict({"type": "prb", "max_depth": 8})
if options.file.exists():
    target = mi.TensorXf(np.load(options.file))
else:
    target = mi.render(scene, integrator=integrator, spp=512, seed=9999)
values, key = mi.traverse(scene), "red.reflectance.value"
true = mi.Color3f(values[key])
dr.eval(true)
values[key] = mi.Color3f(0.01, 0.2, 0.9)
values.update()
optimizer = mi.ad.Adam(lr=0.05)
optimizer[key] = values[key]
values.update(optimizer)
made = {"begins_s": time.time() - options.begun}
for step in range(150):
    image = mi.render(scene, values, integrator=integrator, spp=4, seed=step)
    dr.backward(dr.mean(dr.square(image - target), axis=None))
    optimizer.step()
    optimizer[key] = dr.clip(optimizer[key], 0.0, 1.0)
    values.update(optimizer)
    dr.eval(values[key])
    dr.sync_thread()
    if np.abs(np.array(values[key] - true)).max() < 0.01:
        made |= {"reached_s": time.time() - options.begun, "steps": step + 1}
        break
if not options.file.exists():
    np.save(options.file, np.array(target))
print(json.dumps(made))
