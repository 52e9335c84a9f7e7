//! The bytes of one batch: definitions of groups, and rows as differences to the row before.
//!
//! - [`Encoder`]: keeps what the reader of the file will know, and writes only what it does not.
//! - [`Decoder`]: the other side.
//! - [`ColumnState`]: what both know of a column.
//!
//! The layout stands in `docs/format/wal.md`.
//!
//! Rule: after lost bytes the decoder takes nothing of a group before its next absolute row.

use std::collections::HashMap;
use std::sync::Arc;

use datamodel::sample::STALE_NAN_BITS;
use datamodel::{Histogram, Labels};
use storage::Exemplar;

use crate::bytes::{Corrupt, Reader, put_bytes, put_signed, put_varint, unzigzag, zigzag};
use crate::decimal::{find_scale, from_decimal, to_decimal};
use crate::exemplars::{put_exemplar, read_exemplar};
use crate::head::Head;
use crate::head::plan::{Planned, Row};

/// A group writes an absolute row after so many others, so that a reader finds back after lost bytes:
/// some 2 to 3 extra bytes a value once in 64 rows are 0.04 bytes a sample.
const ABSOLUTE_EVERY: u32 = 64;

/// A column that holds no decimals: tried again only so often, because each trial costs 13 divisions.
const RETRY_DECIMAL_EVERY: u32 = 16;

const DEFINITION: u8 = 0x80;
const EXEMPLAR: u8 = 0x81;
const COLUMNS_ALL: u8 = 0;
const COLUMNS_BITMAP: u8 = 1;
const COLUMNS_LIST: u8 = 2;
const ABSOLUTE: u8 = 0x04;
const REGULAR: u8 = 0x08;
const ID_NEXT: u8 = 0x10;
const ID_SAME: u8 = 0x20;
const ONE_CHANGED: u8 = 0x40;

/// No difference is written as zero, so that a zero can begin everything else.
const ESCAPE: u8 = 0;
/// Scale of a column whose values are no decimals.
const RAW: u8 = 0xff;
const STALE: u8 = 0xfe;
const HISTOGRAM: u8 = 0xfd;

/// What writer and reader know of a column.
#[derive(Clone, Copy, Debug, Default)]
struct ColumnState {
    prev: u64,
    scale: u8,
}

/// What writer and reader know of a group.
#[derive(Debug, Default)]
struct GroupState {
    columns: Vec<ColumnState>,
    last_at: i64,
    last_step: i64,
}

impl GroupState {
    fn reset(&mut self) {
        self.columns.fill(ColumnState::default());
        self.last_at = 0;
        self.last_step = 0;
    }

    const fn expected(&self) -> i64 {
        self.last_at.wrapping_add(self.last_step)
    }

    const fn advance(&mut self, at: i64, absolute: bool) {
        self.last_step = if absolute { 0 } else { at.wrapping_sub(self.last_at) };
        self.last_at = at;
    }
}

#[derive(Debug, Default)]
struct Logged {
    /// Number of the group in the file, once it is defined there.
    id: Option<u32>,
    rows: u32,
    state: GroupState,
}

/// Writes batches; knows what the file already says.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    /// By group of the head.
    groups: Vec<Logged>,
    next_id: u32,
    /// Number of a symbol in the file + 1, by symbol of the head.
    symbols: Vec<u32>,
    next_symbol: u32,
}

impl Encoder {
    /// The columns of a group have changed: it is to be defined anew, under a new number.
    pub(crate) fn forget(&mut self, group: u32) {
        if let Some(logged) = self.groups.get_mut(group as usize) {
            *logged = Logged::default();
        }
    }

    /// Appends the bytes of a batch.
    pub(crate) fn encode(&mut self, head: &Head, planned: &Planned, out: &mut Vec<u8>) {
        let mut previous_id = u32::MAX;
        // A reader that cannot tell the only row of a batch loses no other group with it.
        out.push(u8::from(planned.logged_rows().nth(1).is_some()));
        for row in planned.logged_rows() {
            let Some(group) = head.group(row.group) else { continue };
            self.define_if_new(head, row.group, group.series(), out);
            let logged = &mut self.groups[row.group as usize];
            let id = logged.id.unwrap_or_default();
            encode_row(logged, id, previous_id, row, out);
            previous_id = id;
        }
        for planned in &planned.exemplars {
            let Some(group) = head.group(planned.group) else { continue };
            self.define_if_new(head, planned.group, group.series(), out);
            out.push(EXEMPLAR);
            put_varint(out, u64::from(self.groups[planned.group as usize].id.unwrap_or_default()));
            put_varint(out, u64::from(planned.column));
            put_exemplar(out, &planned.exemplar);
        }
    }

    fn define_if_new(&mut self, head: &Head, group: u32, series: &[u32], out: &mut Vec<u8>) {
        let index = group as usize;
        if self.groups.len() <= index {
            self.groups.resize_with(index + 1, Logged::default);
        }
        if self.groups[index].id.is_none() || self.groups[index].state.columns.len() < series.len() {
            self.define(head, index, series, out);
        }
    }

    /// Writes the columns that the file does not know yet.
    fn define(&mut self, head: &Head, index: usize, series: &[u32], out: &mut Vec<u8>) {
        let id = self.groups[index].id.unwrap_or_else(|| {
            self.next_id += 1;
            self.next_id - 1
        });
        let known = self.groups[index].state.columns.len();
        let new = series.get(known..).unwrap_or(&[]);
        out.push(DEFINITION);
        put_varint(out, u64::from(id));
        put_varint(out, known as u64);
        put_varint(out, new.len() as u64);
        let mut previous: Vec<(u32, u32)> = Vec::new();
        for series in new {
            let labels: Vec<(u32, u32)> = head.index.symbols_of(*series).collect();
            put_varint(out, labels.len() as u64);
            let same = |at: usize| previous.get(at).is_some() && previous.get(at) == labels.get(at);
            for byte in 0..labels.len().div_ceil(8) {
                out.push((0..8).filter(|bit| same(byte * 8 + bit)).fold(0, |byte, bit| byte | 1 << bit));
            }
            for (at, (name, value)) in labels.iter().enumerate() {
                if !same(at) {
                    self.put_symbol(head, *name, out);
                    self.put_symbol(head, *value, out);
                }
            }
            previous = labels;
        }
        let logged = &mut self.groups[index];
        logged.id = Some(id);
        logged.state.columns.resize(series.len(), ColumnState::default());
    }

    fn put_symbol(&mut self, head: &Head, symbol: u32, out: &mut Vec<u8>) {
        let index = symbol as usize;
        if self.symbols.len() <= index {
            self.symbols.resize(index + 1, 0);
        }
        let known = self.symbols[index];
        if known > 0 {
            put_varint(out, u64::from(known));
        } else {
            out.push(0);
            put_varint(out, u64::from(self.next_symbol));
            put_bytes(out, head.index.symbol(symbol).as_bytes());
            self.next_symbol += 1;
            self.symbols[index] = self.next_symbol;
        }
    }
}

fn encode_row(logged: &mut Logged, id: u32, previous_id: u32, row: Row<'_>, out: &mut Vec<u8>) {
    let absolute = logged.rows.is_multiple_of(ABSOLUTE_EVERY);
    let width = logged.state.columns.len();
    let cells = row.cells;
    let columns = match cells.len() {
        len if len == width => COLUMNS_ALL,
        len if len * 8 >= width => COLUMNS_BITMAP,
        _ => COLUMNS_LIST,
    };
    if absolute {
        logged.state.reset();
    }
    let changed = |state: &GroupState, cell: &crate::head::plan::Entry| {
        cell.histogram.is_some() || state.columns[cell.column as usize].prev != cell.bits
    };
    let off = row.at.wrapping_sub(logged.state.expected());
    let mut header = columns;
    header |= if absolute { ABSOLUTE } else { 0 };
    header |= if off == 0 { REGULAR } else { 0 };
    header |= match id {
        id if id == previous_id => ID_SAME,
        id if id == previous_id.wrapping_add(1) => ID_NEXT,
        _ => 0,
    };
    header |=
        if width == 1 && cells.first().is_some_and(|cell| changed(&logged.state, cell)) { ONE_CHANGED } else { 0 };
    out.push(header);
    if header & (ID_SAME | ID_NEXT) == 0 {
        put_varint(out, u64::from(id));
    }
    if absolute {
        put_varint(out, width as u64);
    }
    if off != 0 {
        put_signed(out, off);
    }
    logged.state.advance(row.at, absolute);
    match columns {
        COLUMNS_BITMAP => put_bits(out, width, cells.iter().map(|cell| cell.column as usize)),
        COLUMNS_LIST => {
            put_varint(out, cells.len() as u64);
            let mut next = 0;
            for cell in cells {
                put_varint(out, u64::from(cell.column - next));
                next = cell.column + 1;
            }
        }
        _ => {}
    }
    if width > 1 {
        let at = cells.iter().enumerate().filter(|(_, cell)| changed(&logged.state, cell)).map(|(at, _)| at);
        put_bits(out, cells.len(), at);
    }
    let retry = logged.rows.is_multiple_of(RETRY_DECIMAL_EVERY);
    for cell in cells {
        let column = cell.column as usize;
        if let Some(histogram) = &cell.histogram {
            out.extend_from_slice(&[ESCAPE, HISTOGRAM]);
            put_bytes(out, &crate::histogram::encode(histogram));
        } else if logged.state.columns[column].prev != cell.bits {
            put_value(&mut logged.state.columns[column], cell.bits, retry, out);
        }
    }
    logged.rows = logged.rows.wrapping_add(1);
}

/// Writes a bitmap of `len` bits with the given ones set.
fn put_bits(out: &mut Vec<u8>, len: usize, set: impl Iterator<Item = usize>) {
    let base = out.len();
    out.resize(base + len.div_ceil(8), 0);
    for at in set {
        out[base + at / 8] |= 1 << (at % 8);
    }
}

fn put_value(state: &mut ColumnState, bits: u64, retry: bool, out: &mut Vec<u8>) {
    if bits == STALE_NAN_BITS {
        out.extend_from_slice(&[ESCAPE, STALE]);
        return;
    }
    let value = f64::from_bits(bits);
    let found = if state.scale == RAW {
        if retry { find_scale(value, 0) } else { None }
    } else {
        // The last value is a decimal of this scale, or the scale would have changed with it.
        let both = to_decimal(value, state.scale).zip(to_decimal(f64::from_bits(state.prev), state.scale));
        if let Some((now, before)) = both {
            put_varint(out, zigzag(now - before));
            state.prev = bits;
            return;
        }
        find_scale(value, state.scale + 1).or_else(|| find_scale(value, 0))
    };
    if let Some((scale, integer)) = found {
        out.extend_from_slice(&[ESCAPE, scale]);
        put_signed(out, integer);
        state.scale = scale;
    } else if state.scale == RAW {
        put_xor(bits ^ state.prev, bits, out);
    } else {
        put_xor(u64::MAX, bits, out);
        state.scale = RAW;
    }
    state.prev = bits;
}

/// Writes a float that is no decimal by the bits that differ, with the zeros at either end left off; in
/// full where that is no shorter.
fn put_xor(differs: u64, bits: u64, out: &mut Vec<u8>) {
    let reversed = differs.trailing_zeros() > differs.leading_zeros();
    let short = if reversed { differs.reverse_bits() } else { differs };
    if short.leading_zeros() > 0 {
        put_varint(out, short << 1 | u64::from(reversed));
    } else {
        out.extend_from_slice(&[ESCAPE, RAW]);
        out.extend_from_slice(&bits.to_le_bytes());
    }
}

/// One value that came out of a record.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Float(u64),
    Histogram(Arc<Histogram>),
}

/// Why a batch cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// The bytes are not what a writer writes.
    Corrupt,
    /// It builds on bytes that were lost before.
    Lost,
}

impl From<Corrupt> for DecodeError {
    fn from(_: Corrupt) -> Self {
        Self::Corrupt
    }
}

/// Who takes what a record says.
pub(crate) trait Sink {
    /// How the sink names a series.
    type Series: Copy;

    /// A series of a group is named; the group is new where `first` holds.
    fn define(&mut self, group: u32, first: bool, labels: &Labels) -> Self::Series;

    /// A sample.
    fn sample(&mut self, series: Self::Series, at: i64, value: Value);

    /// An exemplar.
    fn exemplar(&mut self, series: Self::Series, exemplar: Exemplar);
}

#[derive(Debug)]
struct Known<S> {
    series: Vec<S>,
    state: GroupState,
    /// Nothing was lost since the last absolute row.
    trusted: bool,
}

/// Reads batches of one file.
#[derive(Debug)]
pub(crate) struct Decoder<S> {
    groups: HashMap<u32, Known<S>>,
    symbols: HashMap<u32, Box<str>>,
    /// Samples that could not be told, because what they build on was lost.
    pub(crate) lost_samples: u64,
}

impl<S> Default for Decoder<S> {
    fn default() -> Self {
        Self { groups: HashMap::new(), symbols: HashMap::new(), lost_samples: 0 }
    }
}

impl<S: Copy> Decoder<S> {
    /// Bytes were lost: what is known of the groups counts no more.
    pub(crate) fn distrust(&mut self) {
        for known in self.groups.values_mut() {
            known.trusted = false;
        }
    }

    /// Reads one batch. After an error what was given to the sink must be forgotten.
    pub(crate) fn decode(&mut self, payload: &[u8], sink: &mut impl Sink<Series = S>) -> Result<(), DecodeError> {
        let several = payload.first() != Some(&0);
        self.entries(payload, sink).inspect_err(|error| {
            if several || *error != DecodeError::Lost {
                self.distrust();
            }
        })
    }

    fn entries(&mut self, payload: &[u8], sink: &mut impl Sink<Series = S>) -> Result<(), DecodeError> {
        let mut reader = Reader(payload);
        if reader.byte()? > 1 {
            return Err(Corrupt("unknown form of batch").into());
        }
        let mut previous_id = u32::MAX;
        while !reader.is_empty() {
            let header = reader.byte()?;
            if header == DEFINITION {
                self.definition(&mut reader, sink)?;
            } else if header == EXEMPLAR {
                let (group, column) = (reader.id()?, reader.size()?);
                let exemplar = read_exemplar(&mut reader)?;
                let series = self.groups.get(&group).and_then(|known| known.series.get(column));
                series.into_iter().for_each(|series| sink.exemplar(*series, exemplar.clone()));
            } else if header & DEFINITION == 0 {
                previous_id = match header & (ID_SAME | ID_NEXT) {
                    ID_SAME => previous_id,
                    ID_NEXT => previous_id.wrapping_add(1),
                    _ => reader.id()?,
                };
                self.row(header, previous_id, &mut reader, sink)?;
            } else {
                return Err(Corrupt("unknown entry").into());
            }
        }
        Ok(())
    }

    fn symbol(&mut self, reader: &mut Reader<'_>) -> Result<Option<u32>, Corrupt> {
        let code = reader.id()?;
        if let Some(id) = code.checked_sub(1) {
            return Ok(self.symbols.contains_key(&id).then_some(id));
        }
        let id = reader.id()?;
        let text = std::str::from_utf8(reader.bytes()?).map_err(|_invalid| Corrupt("text is no UTF-8"))?;
        self.symbols.insert(id, Box::from(text));
        Ok(Some(id))
    }

    fn definition(&mut self, reader: &mut Reader<'_>, sink: &mut impl Sink<Series = S>) -> Result<(), Corrupt> {
        let id = reader.id()?;
        let first = reader.size()?;
        let count = reader.count(1)?;
        let mut complete = first == 0 || self.groups.get(&id).is_some_and(|known| known.series.len() == first);
        let mut series = Vec::with_capacity(count);
        let mut previous: Vec<Option<(u32, u32)>> = Vec::new();
        for at in 0..count {
            let len = reader.size()?;
            let mask = reader.take(len.div_ceil(8))?;
            let mut labels = Vec::with_capacity(previous.len());
            for at in 0..len {
                let label = if mask[at / 8] >> (at % 8) & 1 == 1 {
                    *previous.get(at).ok_or(Corrupt("label repeats one that is not there"))?
                } else {
                    self.symbol(reader)?.zip(self.symbol(reader)?)
                };
                complete &= label.is_some();
                labels.push(label);
            }
            if complete {
                let texts = labels.iter().flatten().filter_map(|(name, value)| {
                    Some((self.symbols.get(name)?.as_ref(), self.symbols.get(value)?.as_ref()))
                });
                let texts: Vec<(&str, &str)> = texts.collect();
                series.push(sink.define(id, first == 0 && at == 0, &Labels::from_sorted(&texts)));
            }
            previous = labels;
        }
        if !complete {
            self.groups.remove(&id);
            return Ok(());
        }
        let fresh = || Known { series: Vec::new(), state: GroupState::default(), trusted: true };
        let known = self.groups.entry(id).or_insert_with(fresh);
        if first == 0 {
            *known = fresh();
        }
        known.series.extend(series);
        known.state.columns.resize(known.series.len(), ColumnState::default());
        Ok(())
    }

    fn row(
        &mut self,
        header: u8,
        id: u32,
        reader: &mut Reader<'_>,
        sink: &mut impl Sink<Series = S>,
    ) -> Result<(), DecodeError> {
        let absolute = header & ABSOLUTE != 0;
        let written_width = if absolute { Some(reader.size()?) } else { None };
        let off = if header & REGULAR == 0 { reader.signed()? } else { 0 };
        let known = self.groups.get_mut(&id);
        // Without its definition the end of a row cannot be told, nor anything behind it.
        let known_width = known.as_ref().map(|known| known.series.len());
        let width = written_width.or(known_width).ok_or(DecodeError::Lost)?;
        let known = known.filter(|known| (known.trusted || absolute) && width == known.series.len());
        let columns = read_columns(header, width, reader)?;
        let count = columns.as_ref().map_or(width, Vec::len);
        let changed = if width == 1 { None } else { Some(reader.take(count.div_ceil(8))?) };
        let is_changed = |index: usize| match changed {
            Some(bits) => bits[index / 8] >> (index % 8) & 1 == 1,
            None => header & ONE_CHANGED != 0,
        };
        let Some(known) = known else {
            for _ in (0..count).filter(|index| is_changed(*index)) {
                skip_value(reader)?;
            }
            self.lost_samples += count as u64;
            return Ok(());
        };
        if absolute {
            known.trusted = true;
            known.state.reset();
        }
        let at = known.state.expected().wrapping_add(off);
        known.state.advance(at, absolute);
        for index in 0..count {
            let column = columns.as_ref().map_or(index, |columns| columns[index]);
            let state = &mut known.state.columns[column];
            let value = if is_changed(index) { read_value(state, reader)? } else { Value::Float(state.prev) };
            sink.sample(known.series[column], at, value);
        }
        Ok(())
    }
}

/// The columns of a row; `None` for all of them.
fn read_columns(header: u8, width: usize, reader: &mut Reader<'_>) -> Result<Option<Vec<usize>>, Corrupt> {
    match header & 3 {
        COLUMNS_ALL => Ok(None),
        COLUMNS_BITMAP => {
            let bits = reader.take(width.div_ceil(8))?;
            Ok(Some((0..width).filter(|at| bits[at / 8] >> (at % 8) & 1 == 1).collect()))
        }
        COLUMNS_LIST => {
            let count = reader.count(1)?;
            let mut columns = Vec::with_capacity(count);
            let mut next: usize = 0;
            for _ in 0..count {
                let column = next.saturating_add(reader.size()?);
                if column >= width {
                    return Err(Corrupt("column is out of range"));
                }
                columns.push(column);
                next = column + 1;
            }
            Ok(Some(columns))
        }
        _ => Err(Corrupt("unknown form of columns")),
    }
}

/// Steps over a value of a column of which nothing is known.
fn skip_value(reader: &mut Reader<'_>) -> Result<(), Corrupt> {
    if reader.varint()? != 0 {
        return Ok(());
    }
    match reader.byte()? {
        STALE => {}
        HISTOGRAM => drop(reader.bytes()?),
        RAW => drop(reader.u64()?),
        scale if scale <= crate::decimal::MAX_SCALE => drop(reader.signed()?),
        _ => return Err(Corrupt("unknown escape")),
    }
    Ok(())
}

fn read_value(state: &mut ColumnState, reader: &mut Reader<'_>) -> Result<Value, Corrupt> {
    let code = reader.varint()?;
    if code != 0 && state.scale == RAW {
        let short = code >> 1;
        state.prev ^= if code & 1 == 1 { short.reverse_bits() } else { short };
        return Ok(Value::Float(state.prev));
    }
    if code != 0 {
        let before = to_decimal(f64::from_bits(state.prev), state.scale).ok_or(Corrupt("value is no decimal"))?;
        state.prev = from_decimal(before.wrapping_add(unzigzag(code)), state.scale).to_bits();
        return Ok(Value::Float(state.prev));
    }
    match reader.byte()? {
        STALE => return Ok(Value::Float(STALE_NAN_BITS)),
        HISTOGRAM => return Ok(Value::Histogram(Arc::new(crate::histogram::decode(reader.bytes()?)?))),
        RAW => {
            state.prev = reader.u64()?;
            state.scale = RAW;
        }
        scale if scale <= crate::decimal::MAX_SCALE => {
            state.prev = from_decimal(reader.signed()?, scale).to_bits();
            state.scale = scale;
        }
        _ => return Err(Corrupt("unknown escape")),
    }
    Ok(Value::Float(state.prev))
}
