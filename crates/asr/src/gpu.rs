//! The GPU's load and memory, from NVIDIA's management library (NVML), which is loaded at run time.
//!
//! - [`Choice`]: which device is ours, from `CUDA_VISIBLE_DEVICES`.
//! - [`Gpu`]: that device, opened; [`Gpu::sample`] reads it.
//! - [`GpuSampler`]: a thread that samples once a second, so that a scrape never waits for a driver.
//!
//! Numbers in `CUDA_VISIBLE_DEVICES` are taken in NVML's order, which is CUDA's with
//! `CUDA_DEVICE_ORDER=PCI_BUS_ID`, and always where all devices are alike. Of a MIG slice NVML knows the
//! memory but no utilization.
//!
//! Rule: the only unsafe code of the server; no pointer leaves this module, and what the library
//! cannot say is absent.
#![expect(unsafe_code, reason = "calls into a C library that is found at run time")]

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use libloading::Library;

/// Which device this process uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// By number, from 0.
    Index(c_uint),
    /// By identifier: `GPU-…`, where a unique begin is enough, or `MIG-…`.
    Uuid(String),
}

impl Choice {
    /// The device with this number among those that `CUDA_VISIBLE_DEVICES` lets through; none where
    /// it lets too few through. As for CUDA, the list ends at the first entry that is neither a number
    /// nor an identifier.
    pub(crate) fn from_visible_devices(visible: Option<&str>, ordinal: usize) -> Option<Self> {
        let Some(list) = visible else { return c_uint::try_from(ordinal).ok().map(Self::Index) };
        let parse = |entry: &str| {
            let entry = entry.trim();
            if entry.starts_with("GPU-") || entry.starts_with("MIG-") {
                return Some(Self::Uuid(entry.to_owned()));
            }
            entry.parse().ok().map(Self::Index)
        };
        list.split(',').map_while(parse).nth(ordinal)
    }
}

/// What a device says of itself at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct GpuSample {
    /// Part of the last sampling period in which a kernel ran, in percent.
    pub(crate) utilization_percent: Option<f64>,
    /// Memory in use by all processes.
    pub(crate) memory_used_bytes: Option<f64>,
    /// Memory of the device.
    pub(crate) memory_total_bytes: Option<f64>,
}

/// Why there is no device to sample.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GpuError {
    /// The library is not there, or lacks a function: a machine without an NVIDIA driver.
    #[error("cannot load the NVIDIA management library: {library}")]
    Load { library: PathBuf, source: libloading::Error },
    /// The library is there but does not work.
    #[error("the NVIDIA management library failed in {function}: code {code}")]
    Call { function: &'static str, code: c_int },
    /// No device fits the choice.
    #[error("no NVIDIA device: {0:?}")]
    NoDevice(Choice),
}

type Device = *mut c_void;

const SUCCESS: c_int = 0;

/// Longest identifier with its closing zero, as the library's header says.
const UUID_BUFFER_BYTES: c_uint = 96;

/// No machine has more.
const MAX_DEVICES: c_uint = 256;

#[repr(C)]
#[derive(Default)]
struct Utilization {
    gpu_percent: c_uint,
    memory_percent: c_uint,
}

#[repr(C)]
#[derive(Default)]
struct Memory {
    total_bytes: u64,
    free_bytes: u64,
    used_bytes: u64,
}

/// The functions of the library, valid as long as it is loaded.
struct Nvml {
    shutdown: unsafe extern "C" fn() -> c_int,
    count: unsafe extern "C" fn(*mut c_uint) -> c_int,
    by_index: unsafe extern "C" fn(c_uint, *mut Device) -> c_int,
    by_uuid: unsafe extern "C" fn(*const c_char, *mut Device) -> c_int,
    uuid: unsafe extern "C" fn(Device, *mut c_char, c_uint) -> c_int,
    utilization: unsafe extern "C" fn(Device, *mut Utilization) -> c_int,
    memory: unsafe extern "C" fn(Device, *mut Memory) -> c_int,
    _library: Library,
}

impl Nvml {
    fn open(path: &Path) -> Result<Self, GpuError> {
        let load = |source| GpuError::Load { library: path.to_owned(), source };
        // SAFETY: the library's initializers are NVIDIA's, or those of whom the operator named.
        let library = unsafe { Library::new(path) }.map_err(load)?;
        // SAFETY: names and signatures are those of nvml.h, stable since version 5; the pointers are
        // kept beside the library that they lead into.
        let (init, nvml) = unsafe {
            let init: unsafe extern "C" fn() -> c_int = *library.get(b"nvmlInit_v2\0").map_err(load)?;
            let nvml = Self {
                shutdown: *library.get(b"nvmlShutdown\0").map_err(load)?,
                count: *library.get(b"nvmlDeviceGetCount_v2\0").map_err(load)?,
                by_index: *library.get(b"nvmlDeviceGetHandleByIndex_v2\0").map_err(load)?,
                by_uuid: *library.get(b"nvmlDeviceGetHandleByUUID\0").map_err(load)?,
                uuid: *library.get(b"nvmlDeviceGetUUID\0").map_err(load)?,
                utilization: *library.get(b"nvmlDeviceGetUtilizationRates\0").map_err(load)?,
                memory: *library.get(b"nvmlDeviceGetMemoryInfo\0").map_err(load)?,
                _library: library,
            };
            (init, nvml)
        };
        // SAFETY: takes nothing; every successful call is answered by one `shutdown`.
        let code = unsafe { init() };
        if code == SUCCESS {
            return Ok(nvml);
        }
        // Not initialised, so there is nothing for `drop` to shut down; the library stays loaded.
        std::mem::forget(nvml);
        Err(GpuError::Call { function: "nvmlInit_v2", code })
    }

    fn at_index(&self, index: c_uint) -> Option<Device> {
        let mut device = ptr::null_mut();
        // SAFETY: writes one pointer.
        let code = unsafe { (self.by_index)(index, &raw mut device) };
        (code == SUCCESS).then_some(device)
    }

    fn with_uuid(&self, uuid: &str) -> Option<Device> {
        let text = CString::new(uuid).ok()?;
        let mut device = ptr::null_mut();
        // SAFETY: reads a closed string, writes one pointer.
        let code = unsafe { (self.by_uuid)(text.as_ptr(), &raw mut device) };
        if code == SUCCESS {
            return Some(device);
        }
        let mut count = 0;
        // SAFETY: writes one number.
        let code = unsafe { (self.count)(&raw mut count) };
        let count = if code == SUCCESS { count.min(MAX_DEVICES) } else { 0 };
        let mut fitting = (0..count)
            .filter_map(|index| self.at_index(index))
            .filter(|device| self.uuid_of(*device).is_some_and(|full| full.starts_with(uuid)));
        fitting.next().filter(|_| fitting.next().is_none())
    }

    fn uuid_of(&self, device: Device) -> Option<String> {
        let mut buffer: [c_char; UUID_BUFFER_BYTES as usize] = [0; UUID_BUFFER_BYTES as usize];
        // SAFETY: writes at most the given number of bytes.
        let code = unsafe { (self.uuid)(device, buffer.as_mut_ptr(), UUID_BUFFER_BYTES - 1) };
        if code != SUCCESS {
            return None;
        }
        // SAFETY: the last byte was zero and out of the library's reach, so the string ends inside.
        let text = unsafe { CStr::from_ptr(buffer.as_ptr()) };
        text.to_str().ok().map(str::to_owned)
    }
}

impl Drop for Nvml {
    fn drop(&mut self) {
        // SAFETY: answers the one successful `init`; no call follows.
        unsafe { (self.shutdown)() };
    }
}

/// One device. Stays on the thread that opened it.
pub(crate) struct Gpu {
    nvml: Nvml,
    device: Device,
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gpu").finish_non_exhaustive()
    }
}

impl Gpu {
    /// Loads the library and finds the device.
    ///
    /// # Errors
    /// See [`GpuError`]; none of them is a reason not to serve.
    pub(crate) fn open(library: &Path, choice: &Choice) -> Result<Self, GpuError> {
        let nvml = Nvml::open(library)?;
        let device = match choice {
            Choice::Index(index) => nvml.at_index(*index),
            Choice::Uuid(uuid) => nvml.with_uuid(uuid),
        };
        match device {
            Some(device) => Ok(Self { nvml, device }),
            None => Err(GpuError::NoDevice(choice.clone())),
        }
    }

    /// Reads the device; may take some milliseconds.
    pub(crate) fn sample(&self) -> GpuSample {
        let mut utilization = Utilization::default();
        // SAFETY: the handle is of this library; writes one struct.
        let utilization_code = unsafe { (self.nvml.utilization)(self.device, &raw mut utilization) };
        let mut memory = Memory::default();
        // SAFETY: as above.
        let memory_code = unsafe { (self.nvml.memory)(self.device, &raw mut memory) };
        let memory = (memory_code == SUCCESS).then_some(memory);
        GpuSample {
            utilization_percent: (utilization_code == SUCCESS).then(|| f64::from(utilization.gpu_percent)),
            memory_used_bytes: memory.as_ref().map(|memory| memory.used_bytes as f64),
            memory_total_bytes: memory.as_ref().map(|memory| memory.total_bytes as f64),
        }
    }
}

/// NVML's own sampling period is up to a second long.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// A thread that samples a device until it is stopped.
#[derive(Debug)]
pub(crate) struct GpuSampler {
    stopped: Arc<(Mutex<bool>, Condvar)>,
    thread: JoinHandle<()>,
}

impl GpuSampler {
    /// Starts the thread. Without library or device it ends at once, with a line in the log.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(
        library: PathBuf,
        choice: Choice,
        publish: impl Fn(GpuSample) + Send + 'static,
    ) -> io::Result<Self> {
        let stopped = Arc::new((Mutex::new(false), Condvar::new()));
        let seen = Arc::clone(&stopped);
        let run = move || {
            let gpu = match Gpu::open(&library, &choice) {
                Ok(gpu) => gpu,
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::info!(error, "no GPU metrics");
                    return;
                }
            };
            let (stopped, wake) = &*seen;
            let mut is_stopped = stopped.lock().unwrap_or_else(PoisonError::into_inner);
            while !*is_stopped {
                drop(is_stopped);
                publish(gpu.sample());
                let lock = stopped.lock().unwrap_or_else(PoisonError::into_inner);
                let waited = wake.wait_timeout_while(lock, SAMPLE_EVERY, |stopped| !*stopped);
                is_stopped = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        };
        let thread = thread::Builder::new().name("asr-gpu".to_owned()).spawn(run)?;
        Ok(Self { stopped, thread })
    }

    /// Ends the thread and waits for it; blocks for as long as a call into the driver.
    pub(crate) fn stop(self) {
        *self.stopped.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stopped.1.notify_all();
        // A panic inside was reported by the thread.
        self.thread.join().ok();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn visible_devices_choose_as_cuda_does() {
        let index = |index| Some(Choice::Index(index));
        let uuid = |uuid: &str| Some(Choice::Uuid(uuid.to_owned()));
        for (visible, ordinal, expected) in [
            (None, 0, index(0)),
            (None, 3, index(3)),
            (Some("2,0"), 0, index(2)),
            (Some("2, 0"), 1, index(0)),
            (Some("2,0"), 2, None),
            (Some(""), 0, None),
            (Some("-1"), 0, None),
            (Some("1,-1,2"), 2, None),
            (Some("NoDevFiles"), 0, None),
            (Some("GPU-5f0c"), 0, uuid("GPU-5f0c")),
            (Some("0,MIG-77"), 1, uuid("MIG-77")),
        ] {
            assert_eq!(Choice::from_visible_devices(visible, ordinal), expected, "{visible:?} {ordinal}");
        }
    }

    #[test]
    fn devices_of_a_library_are_found_by_number_and_identifier() {
        let library = FakeNvml::build();
        let full = |percent, used: f64| GpuSample {
            utilization_percent: Some(percent),
            memory_used_bytes: Some(used),
            memory_total_bytes: Some(24e9),
        };
        library.check(&Choice::Index(0), Some(full(7.0, 1e9)));
        library.check(&Choice::Index(1), Some(full(93.0, 18e9)));
        library.check(&Choice::Index(2), None);
        library.check(&Choice::Uuid("GPU-bbbb-2222".to_owned()), Some(full(93.0, 18e9)));
        library.check(&Choice::Uuid("GPU-a".to_owned()), Some(full(7.0, 1e9)));
        library.check(&Choice::Uuid("GPU-".to_owned()), None);
        library.check(&Choice::Uuid("GPU-c".to_owned()), None);
        let slice = GpuSample { utilization_percent: None, ..full(0.0, 5e9) };
        library.check(&Choice::Uuid("MIG-1".to_owned()), Some(slice));
    }

    #[test]
    fn missing_library_is_said_by_name() {
        let error = Gpu::open(Path::new("/nowhere/libnvidia-ml.so.1"), &Choice::Index(0)).unwrap_err();
        assert_eq!(error.to_string(), "cannot load the NVIDIA management library: /nowhere/libnvidia-ml.so.1");
    }

    #[test]
    fn sampler_publishes_and_ends() {
        let library = FakeNvml::build();
        let (publish, samples) = std::sync::mpsc::sync_channel(1);
        let send = move |sample| publish.send(sample).unwrap();
        let sampler = GpuSampler::start(library.path(), Choice::Index(1), send).unwrap();
        assert_eq!(samples.recv().unwrap().utilization_percent, Some(93.0));
        sampler.stop();
        assert_eq!(samples.recv().ok(), None);
    }

    /// A library with the eight functions, two devices and a MIG slice, built by the compiler that
    /// builds this test.
    pub(crate) struct FakeNvml(tempfile::TempDir);

    impl FakeNvml {
        pub(crate) fn build() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let source = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/fake_nvml.rs.in");
            let output = folder.path().join("libnvidia-ml.so.1");
            let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
            let built = Command::new(rustc)
                .args([
                    "--crate-name",
                    "fake_nvml",
                    "--crate-type",
                    "cdylib",
                    "--edition",
                    "2024",
                    "-C",
                    "panic=abort",
                    "-o",
                ])
                .args([output.as_path(), Path::new(source)])
                .status()
                .unwrap();
            assert!(built.success());
            Self(folder)
        }

        pub(crate) fn path(&self) -> PathBuf {
            self.0.path().join("libnvidia-ml.so.1")
        }

        #[track_caller]
        fn check(&self, choice: &Choice, expected: Option<GpuSample>) {
            let sample = Gpu::open(&self.path(), choice).ok().map(|gpu| gpu.sample());
            assert_eq!(sample, expected, "{choice:?}");
        }
    }
}
