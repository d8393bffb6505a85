use std::time::SystemTime;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use herring_swarm::{OpenError, Swarm};
use http::StatusCode;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::{
    Bucket, CommonPrefix, ETagCondition, EncodingType, GetBucketLocationInput, GetBucketLocationOutput, GetObjectInput,
    GetObjectOutput, HeadBucketInput, HeadBucketOutput, HeadObjectInput, HeadObjectOutput, ListBucketsInput, ListBucketsOutput,
    ListObjectsInput, ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output, Object as Listing, ObjectStorageClass,
    Timestamp,
};
use s3s::{S3, S3ErrorCode, S3Request, S3Response, S3Result};

use crate::object::{Object, Verdict, listed_tag, sayable, tag, whole_second};
use crate::s3::answer::{blob, length, open_error, part, read_error, refuse};
use crate::s3::walk::{Item, NO_BYTES, Part, Position, Wanted, walk};

const TYPE: &str = "application/octet-stream";
/// Of a key that stands for an empty directory.
const DIRECTORY: &str = "application/x-directory";

/// S3's most, and what is given where no number is asked for.
const MOST_KEYS: i32 = 1000;

/// What S3 writes as it is in a listing with `encoding-type=url`.
const URL: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'*').remove(b'/');

/// Every origin as a bucket. What is not implemented here is refused by s3s as such: uploads, deletions, policies.
pub(super) struct Buckets {
    pub swarm: Swarm,
}

/// What reading an object and asking about one have in common.
struct Asked<'a> {
    bucket: &'a str,
    key: &'a str,
    version: Option<&'a str>,
    part: Option<i32>,
    if_match: Option<&'a ETagCondition>,
    if_none_match: Option<&'a ETagCondition>,
    if_modified_since: Option<&'a Timestamp>,
    if_unmodified_since: Option<&'a Timestamp>,
}

macro_rules! asked {
    ($input:ident) => {
        Asked {
            bucket: &$input.bucket,
            key: &$input.key,
            version: $input.version_id.as_deref(),
            part: $input.part_number,
            if_match: $input.if_match.as_ref(),
            if_none_match: $input.if_none_match.as_ref(),
            if_modified_since: $input.if_modified_since.as_ref(),
            if_unmodified_since: $input.if_unmodified_since.as_ref(),
        }
    };
}

impl Asked<'_> {
    fn is_conditional(&self) -> bool {
        let tagged = self.if_match.is_some() || self.if_none_match.is_some();
        tagged || self.if_modified_since.is_some() || self.if_unmodified_since.is_some()
    }

    /// In the order of RFC 9110 section 13.2.2: a date counts only where no tag is given.
    fn judge(&self, object: &Object) -> Verdict {
        let newer = |since: &Timestamp| object.modified().map(|modified| Timestamp::from(whole_second(modified)) > *since);
        if self.if_match.is_none() && self.if_unmodified_since.and_then(newer) == Some(true) {
            return Verdict::Failed;
        }
        match object.judge(self.if_match, self.if_none_match) {
            Verdict::Proceed if self.if_none_match.is_none() && self.if_modified_since.and_then(newer) == Some(false) => {
                Verdict::NotModified
            }
            verdict => verdict,
        }
    }
}

impl Buckets {
    fn check(&self, bucket: &str) -> S3Result<()> {
        let known = self.swarm.origin_names();
        if known.iter().any(|name| name == bucket) {
            return Ok(());
        }
        Err(refuse(S3ErrorCode::NoSuchBucket, format!("no origin is named {bucket:?} here; there is: {}", known.join(", "))))
    }

    async fn read(&self, request: &S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = &request.input;
        let asked = asked!(input);
        if self.is_marker(&asked).await? {
            return Ok(S3Response::new(GetObjectOutput {
                body: Some(blob(stream::empty().boxed())),
                content_length: Some(0),
                content_type: Some(DIRECTORY.to_owned()),
                last_modified: Some(SystemTime::UNIX_EPOCH.into()),
                e_tag: Some(tag(NO_BYTES)),
                ..GetObjectOutput::default()
            }));
        }
        // What is conditional may end with a word.
        let all = input.range.is_none() && !asked.is_conditional();
        let object = self.open(asked, if all { u64::MAX } else { 0 }).await?;
        let heeded = input.range.as_ref().filter(|_| object.is_range_heeded(&request.headers));
        let (range, content_range) = part(heeded, object.content.size())?;
        let pieces = object.read(&self.swarm, range).await.map_err(read_error)?;
        Ok(S3Response::new(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            body: Some(blob(pieces)),
            content_length: Some(length(range.len())),
            content_range,
            content_type: Some(TYPE.to_owned()),
            last_modified: object.modified().map(Into::into),
            e_tag: Some(object.etag),
            ..GetObjectOutput::default()
        }))
    }

    /// Whether the key stands for an empty directory, as listings have it.
    async fn is_marker(&self, asked: &Asked<'_>) -> S3Result<bool> {
        let Some(directory) = asked.key.strip_suffix('/').filter(|directory| !directory.is_empty()) else { return Ok(false) };
        match self.swarm.list_page(asked.bucket, directory, None).await {
            Ok(page) => Ok(page.entries.is_empty() && page.next.is_none()),
            Err(OpenError::NotFound { .. } | OpenError::InvalidKey { .. } | OpenError::Unlisted { .. }) => Ok(false),
            Err(error) => Err(open_error(error)),
        }
    }

    async fn open(&self, asked: Asked<'_>, reading: u64) -> S3Result<Object> {
        if asked.version.is_some_and(|version| version != "null") {
            return Err(refuse(S3ErrorCode::NoSuchVersion, "only the present version of an object can be asked for"));
        }
        if asked.part.is_some_and(|part| part != 1) {
            let mut refusal =
                refuse(S3ErrorCode::Custom("InvalidPartNumber".into()), "an object has one part here, which is all of it");
            refusal.set_status_code(StatusCode::RANGE_NOT_SATISFIABLE);
            return Err(refusal);
        }
        let object = Object::open(&self.swarm, asked.bucket, asked.key, reading).await.map_err(open_error)?;
        match asked.judge(&object) {
            Verdict::Failed => Err(refuse(S3ErrorCode::PreconditionFailed, "what is here now is not what the request names")),
            Verdict::NotModified => Err(refuse(S3ErrorCode::NotModified, "it is what the client has")),
            Verdict::Proceed => Ok(object),
        }
    }
}

#[async_trait]
impl S3 for Buckets {
    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        match self.read(&request).await {
            // What is believed of it was old, and is not believed any more.
            Err(error) if *error.code() == S3ErrorCode::OperationAborted => self.read(&request).await,
            other => other,
        }
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let (input, headers) = (request.input, request.headers);
        let asked = asked!(input);
        if self.is_marker(&asked).await? {
            return Ok(S3Response::new(HeadObjectOutput {
                content_length: Some(0),
                content_type: Some(DIRECTORY.to_owned()),
                last_modified: Some(SystemTime::UNIX_EPOCH.into()),
                e_tag: Some(tag(NO_BYTES)),
                ..HeadObjectOutput::default()
            }));
        }
        let object = self.open(asked, 0).await?;
        let heeded = input.range.as_ref().filter(|_| object.is_range_heeded(&headers));
        let (range, content_range) = part(heeded, object.content.size())?;
        Ok(S3Response::new(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(length(range.len())),
            content_range,
            content_type: Some(TYPE.to_owned()),
            last_modified: object.modified().map(Into::into),
            e_tag: Some(object.etag),
            ..HeadObjectOutput::default()
        }))
    }

    async fn list_objects_v2(&self, request: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        self.check(&input.bucket)?;
        let part = walk(&self.swarm, &input.bucket, wanted(&input)?).await.map_err(open_error)?;
        Ok(S3Response::new(listed(input, part)))
    }

    /// The same walk, as S3 told it first. A marker is where the walk goes on, as the later one's token is: a part may end with no key at all.
    async fn list_objects(&self, request: S3Request<ListObjectsInput>) -> S3Result<S3Response<ListObjectsOutput>> {
        let marker = request.input.marker.clone();
        let mut input = ListObjectsV2Input::from(request.input);
        self.check(&input.bucket)?;
        if marker.as_deref().is_some_and(|marker| Position::parse(marker).is_some()) {
            input.continuation_token = input.start_after.take();
        }
        let part = walk(&self.swarm, &input.bucket, wanted(&input)?).await.map_err(open_error)?;
        let spell = spelling(input.encoding_type.as_ref());
        let later = listed(input, part);
        Ok(S3Response::new(ListObjectsOutput {
            name: later.name,
            prefix: later.prefix,
            delimiter: later.delimiter,
            encoding_type: later.encoding_type,
            max_keys: later.max_keys,
            is_truncated: later.is_truncated,
            contents: later.contents,
            common_prefixes: later.common_prefixes,
            marker: marker.map(spell),
            next_marker: later.next_continuation_token.map(spell),
            ..ListObjectsOutput::default()
        }))
    }

    async fn list_buckets(&self, _: S3Request<ListBucketsInput>) -> S3Result<S3Response<ListBucketsOutput>> {
        // Nobody knows when an origin was made, but the AWS command line tool takes no answer without a date.
        let bucket = |name| Bucket { name: Some(name), creation_date: Some(SystemTime::UNIX_EPOCH.into()), ..Bucket::default() };
        let buckets = self.swarm.origin_names().into_iter().map(bucket).collect();
        Ok(S3Response::new(ListBucketsOutput { buckets: Some(buckets), ..ListBucketsOutput::default() }))
    }

    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.check(&request.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn get_bucket_location(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.check(&request.input.bucket)?;
        Ok(S3Response::new(GetBucketLocationOutput::default()))
    }
}

fn wanted(input: &ListObjectsV2Input) -> S3Result<Wanted> {
    let descend = match input.delimiter.as_deref() {
        None | Some("") => true,
        Some("/") => false,
        Some(other) => {
            return Err(refuse(S3ErrorCode::NotImplemented, format!("keys are cut at slashes here, not at {other:?}")));
        }
    };
    let most = usize::try_from(input.max_keys.unwrap_or(MOST_KEYS).min(MOST_KEYS));
    let most = most.map_err(|_| refuse(S3ErrorCode::InvalidArgument, "max-keys must not be negative"))?;
    let from = match input.continuation_token.as_deref() {
        Some(token) => {
            Position::parse(token).ok_or_else(|| refuse(S3ErrorCode::InvalidArgument, "the continuation token is not ours"))?
        }
        None => Position::start(input.start_after.clone().unwrap_or_default()),
    };
    Ok(Wanted { prefix: input.prefix.clone().unwrap_or_default(), descend, most, from })
}

fn listed(input: ListObjectsV2Input, part: Part) -> ListObjectsV2Output {
    let spell = spelling(input.encoding_type.as_ref());
    let (mut contents, mut common_prefixes) = (Vec::new(), Vec::new());
    for item in part.items {
        match item {
            Item::Prefix(prefix) => common_prefixes.push(CommonPrefix { prefix: Some(spell(prefix)) }),
            Item::Key { key, size, modified, version } => contents.push(Listing {
                key: Some(spell(key)),
                size: Some(length(size)),
                last_modified: sayable(modified).map(Into::into),
                e_tag: Some(version.as_deref().map_or_else(|| listed_tag(size, modified), tag)),
                storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
                ..Listing::default()
            }),
        }
    }
    ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: Some(spell(input.prefix.unwrap_or_default())),
        delimiter: input.delimiter.map(spell),
        start_after: input.start_after.map(spell),
        encoding_type: input.encoding_type,
        max_keys: Some(input.max_keys.unwrap_or(MOST_KEYS)),
        key_count: i32::try_from(contents.len() + common_prefixes.len()).ok(),
        continuation_token: input.continuation_token,
        is_truncated: Some(part.next.is_some()),
        next_continuation_token: part.next.map(|position| position.to_string()),
        contents: Some(contents),
        common_prefixes: Some(common_prefixes),
        ..ListObjectsV2Output::default()
    }
}

/// How a listing writes keys.
fn spelling(encoding: Option<&EncodingType>) -> impl Fn(String) -> String + Copy + use<> {
    let as_url = encoding.is_some_and(|encoding| encoding.as_str() == EncodingType::URL);
    move |text| if as_url { utf8_percent_encode(&text, URL).to_string() } else { text }
}
