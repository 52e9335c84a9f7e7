mod autoscaler;
mod fakes;
mod front;
mod supervisor;
