//! How messages are written and read: like prost does it, but answers begin with a small buffer.
//!
//! A stream keeps its buffer for as long as it is open, and most of the time there is nothing in it: the usual 8 KiB are
//! most of what an idle stream costs.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// The first size of a buffer, in bytes; it grows with what is written.
const FIRST: usize = 256;
/// Messages are collected up to this many bytes before they are sent.
const COLLECTED: usize = 32 * 1024;

/// The codec of all our clients and servers.
#[derive(Debug, Clone)]
pub struct Lean<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Lean<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for Lean<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(FIRST, COLLECTED))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::default().decoder()
    }
}
