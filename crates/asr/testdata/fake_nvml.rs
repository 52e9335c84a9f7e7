//! A stand-in for NVIDIA's management library: two devices and a MIG slice with fixed values.
//!
//! Built by the tests with `rustc --crate-type cdylib`; no part of the crate.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

type Device = *mut c_void;

const SUCCESS: c_int = 0;
const INVALID_ARGUMENT: c_int = 2;
const NOT_SUPPORTED: c_int = 3;
const NOT_FOUND: c_int = 6;

/// Identifier, utilization in percent (none for a slice), used bytes; a handle is the position plus one.
const DEVICES: [(&CStr, Option<c_uint>, u64); 3] = [
    (c"GPU-aaaa-1111", Some(7), 1_000_000_000),
    (c"GPU-bbbb-2222", Some(93), 18_000_000_000),
    (c"MIG-1", None, 5_000_000_000),
];

/// Slices are not counted.
const COUNT: usize = 2;

fn device(handle: Device) -> Option<&'static (&'static CStr, Option<c_uint>, u64)> {
    DEVICES.get((handle as usize).checked_sub(1)?)
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlInit_v2() -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlShutdown() -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetCount_v2(count: *mut c_uint) -> c_int {
    unsafe { *count = COUNT as c_uint };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByIndex_v2(index: c_uint, handle: *mut Device) -> c_int {
    if index as usize >= COUNT {
        return INVALID_ARGUMENT;
    }
    unsafe { *handle = (index as usize + 1) as Device };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByUUID(uuid: *const c_char, handle: *mut Device) -> c_int {
    let uuid = unsafe { CStr::from_ptr(uuid) };
    let Some(at) = DEVICES.iter().position(|(known, ..)| *known == uuid) else { return NOT_FOUND };
    unsafe { *handle = (at + 1) as Device };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetUUID(handle: Device, text: *mut c_char, len: c_uint) -> c_int {
    let Some((uuid, ..)) = device(handle) else { return INVALID_ARGUMENT };
    let bytes = uuid.to_bytes_with_nul();
    if bytes.len() > len as usize {
        return INVALID_ARGUMENT;
    }
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), text, bytes.len()) };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetUtilizationRates(handle: Device, rates: *mut [c_uint; 2]) -> c_int {
    let Some((_, percent, _)) = device(handle) else { return INVALID_ARGUMENT };
    let Some(percent) = percent else { return NOT_SUPPORTED };
    unsafe { *rates = [*percent, 1] };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMemoryInfo(handle: Device, memory: *mut [u64; 3]) -> c_int {
    const TOTAL: u64 = 24_000_000_000;
    let Some((.., used)) = device(handle) else { return INVALID_ARGUMENT };
    unsafe { *memory = [TOTAL, TOTAL - used, *used] };
    SUCCESS
}
