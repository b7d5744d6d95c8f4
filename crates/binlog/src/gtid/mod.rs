//! GTIDs of both flavours and the algebra of their sets.

mod intervals;
mod set;
mod single;
mod sources;
mod tag;
mod text;
mod uuid;
mod wire;

pub use set::GtidSet;
pub use single::{Gtid, GtidSource, GtidTextError};
pub use tag::{Tag, TagError};
pub use uuid::{Uuid, UuidError};
pub use wire::GtidWireError;
