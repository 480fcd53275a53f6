//! What the pixel is doing, which its health follows from.

/// What the pixel is doing. It can take traffic only while serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// The WAL is being opened and recovered.
    Starting,
    /// Requests are answered.
    Serving,
    /// Asked to stop; requests are answered, and load balancers told to go elsewhere.
    Draining,
    /// The WAL has failed; the process ends.
    Failed,
}

impl State {
    const ALL: [Self; 4] = [Self::Starting, Self::Serving, Self::Draining, Self::Failed];

    /// The state of a number that one was turned into.
    pub(crate) const fn from_number(number: u8) -> Self {
        Self::ALL[number as usize]
    }

    /// Its name in `/stats`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Failed => "failed",
        }
    }
}
