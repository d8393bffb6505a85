//! The doors as their programs use them: the real `huggingface_hub` and the real boto3, over a swarm of one node.

mod hub;
mod node;
mod s3;
#[path = "../../../origin/tests/conformance/stand_in.rs"]
mod stand_in;
