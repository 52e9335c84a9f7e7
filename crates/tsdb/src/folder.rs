//! The sealed files of a folder: which count, which are left over, which are damaged.
//!
//! Rule: a file counts once it has its name; what it replaces is deleted, now or at the next start.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::Disk;
use crate::options::{Damage, OpenError, OpenReport};
use crate::segment::{Segment, SegmentError, VERSION};

/// The path of a segment.
pub(crate) fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}.seg"))
}

/// Opens the sealed files. Returns them and the highest number that any file has.
pub(crate) fn open_segments(
    disk: &dyn Disk,
    dir: &Path,
    report: &mut OpenReport,
) -> Result<(Vec<Arc<Segment>>, u64), OpenError> {
    let mut segments = Vec::new();
    let mut highest = 0;
    for path in disk.list(dir).map_err(OpenError::io("list the sealed segments", dir))? {
        let extension = path.extension().and_then(|extension| extension.to_str());
        let number: Option<u64> = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        highest = highest.max(number.unwrap_or(0));
        match (extension, number) {
            (Some("tmp"), _) => {
                // Never got its name: its samples are in the log, or in the segments that it would replace.
                disk.remove(&path).map_err(OpenError::io("remove an unfinished segment", &path))?;
            }
            (Some("seg"), Some(number)) => match Segment::open(disk, &path, number) {
                Ok(segment) => segments.push(Arc::new(segment)),
                Err(SegmentError::Io(source)) => {
                    return Err(OpenError::Io { action: "open a sealed segment", path, source });
                }
                Err(SegmentError::Newer(found)) => {
                    return Err(OpenError::NewerFormat { path, found, supported: VERSION });
                }
                Err(SegmentError::Corrupt(corrupt)) => {
                    let aside = path.with_extension("damaged");
                    disk.rename(&path, &aside).map_err(OpenError::io("set aside a damaged segment", &path))?;
                    report.damage.push(Damage::SetAside { path: aside, reason: corrupt.to_string() });
                }
            },
            _ => {}
        }
    }
    let replaced: HashSet<u64> = segments.iter().flat_map(|segment| segment.replaces()).collect();
    for segment in segments.iter().filter(|segment| replaced.contains(&segment.number())) {
        let path = segment.path();
        disk.remove(path).map_err(OpenError::io("remove a replaced segment", path))?;
    }
    segments.retain(|segment| !replaced.contains(&segment.number()));
    report.segments = segments.len();
    Ok((segments, highest))
}
