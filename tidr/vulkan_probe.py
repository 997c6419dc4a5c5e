"""Run as a script: prints this machine's Vulkan devices as JSON. No import of tidr or Taichi."""

import ctypes
import json
import sys

LIBRARIES = {"win32": ("vulkan-1.dll",), "darwin": ("libvulkan.1.dylib", "libMoltenVK.dylib")}
DEVICE_TYPE_CPU = 4


class InstanceInfo(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_uint32),
        ("next", ctypes.c_void_p),
        ("flags", ctypes.c_uint32),
        ("application", ctypes.c_void_p),
        ("layer_count", ctypes.c_uint32),
        ("layers", ctypes.c_void_p),
        ("extension_count", ctypes.c_uint32),
        ("extensions", ctypes.c_void_p),
    ]


def devices() -> list:
    for name in LIBRARIES.get(sys.platform, ("libvulkan.so.1",)):
        try:
            vulkan = ctypes.CDLL(name)
            break
        except OSError:
            continue
    else:
        return []
    instance = ctypes.c_void_p()
    if vulkan.vkCreateInstance(ctypes.byref(InstanceInfo(type=1)), None, ctypes.byref(instance)) != 0:
        return []
    count = ctypes.c_uint32()
    vulkan.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), None)
    handles = (ctypes.c_void_p * count.value)()
    vulkan.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), handles)
    found = []
    for handle in handles:
        # VkPhysicalDeviceProperties: four u32, then the device type and the name.
        properties = (ctypes.c_uint8 * 2048)()
        vulkan.vkGetPhysicalDeviceProperties(ctypes.c_void_p(handle), properties)
        raw = bytes(properties)
        kind = int.from_bytes(raw[16:20], sys.byteorder)
        found.append(
            {"name": raw[20:276].split(b"\0")[0].decode(errors="replace"), "software": kind == DEVICE_TYPE_CPU}
        )
    return found


if __name__ == "__main__":
    print(json.dumps(devices()))
