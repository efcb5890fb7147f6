/// One step of decoding content.
package enum BodyStep {
    /// Everything was taken and the content goes on.
    case needsInput
    /// `offset` and `length` of content within the input; call again with what follows ``BodyDecoder/consumed``.
    case content(offset: Int, length: Int)
    /// The content has ended; bytes after ``BodyDecoder/consumed`` belong to the next message.
    case ended
    case rejected(Rejection)
}

/// Takes the framing off content: by length, chunked (RFC 9112 7.1), or up to the end of the connection.
///
/// A value; it keeps no bytes but those of a chunk-size line's number, so that any cut of the input gives the same
/// content. Trailer fields are the exception: the caller of ``decode(_:trailers:)`` gets them in a head.
package struct BodyDecoder: Sendable {
    private enum State {
        case done
        case length(UInt64)
        case untilClose
        case chunkSizeStart
        case chunkSize(UInt64)
        case chunkExtension(UInt64)
        case chunkSizeLineFeed(UInt64)
        case chunkData(UInt64)
        case chunkDataCarriageReturn
        case chunkDataLineFeed
        case trailers
        case failed
    }

    /// Octets of chunk extensions, and of zeros before chunk sizes, that one message may carry.
    package static let extensionLimit = 16 * 1024

    private var state: State = .done
    private var extensionBytes = 0
    private var trailerScanner = HeadScanner()
    private let trailerLimits = HeadLimits(targetBytes: 32 * 1024, headBytes: 16 * 1024, fieldCount: 64)
    /// How many bytes of the input the last step took.
    package private(set) var consumed = 0

    package init() {}

    /// Starts on new content.
    package mutating func begin(_ framing: BodyFraming) {
        extensionBytes = 0
        switch framing {
        case .none: state = .done
        case .length(let length): state = length == 0 ? .done : .length(length)
        case .chunked: state = .chunkSizeStart
        case .untilClose: state = .untilClose
        }
    }

    package var isDone: Bool {
        if case .done = state { return true }
        return false
    }

    /// What the end of the connection means now: true when the content is complete by it.
    package mutating func connectionEnded() -> Bool {
        switch state {
        case .done: return true
        case .untilClose:
            state = .done
            return true
        case .length, .chunkSizeStart, .chunkSize, .chunkExtension, .chunkSizeLineFeed, .chunkData,
            .chunkDataCarriageReturn, .chunkDataLineFeed, .trailers, .failed:
            return false
        }
    }

    /// Decodes the next piece.
    ///
    /// - Parameter trailers: gets the trailer fields before ``BodyStep/ended``; it is reset first.
    package mutating func decode(_ input: UnsafeRawBufferPointer, trailers: inout MessageHead) -> BodyStep {
        consumed = 0
        while true {
            switch state {
            case .done:
                return .ended
            case .length(let rest):
                return unsafe takeCounted(rest, input) { $0 == 0 ? .done : .length($0) }
            case .untilClose:
                let length = input.count - consumed
                guard length > 0 else { return .needsInput }
                let offset = consumed
                consumed += length
                return .content(offset: offset, length: length)
            case .chunkData(let rest):
                return unsafe takeCounted(rest, input) { $0 == 0 ? .chunkDataCarriageReturn : .chunkData($0) }
            case .trailers:
                let step = unsafe decodeTrailers(input, into: &trailers)
                if case .rejected = step { state = .failed }
                return step
            case .failed:
                return .rejected(.malformed("the framing of the content was refused before"))
            case .chunkSizeStart, .chunkSize, .chunkExtension, .chunkSizeLineFeed, .chunkDataCarriageReturn,
                .chunkDataLineFeed:
                if unsafe takeSizeLine(input) { continue }
                guard consumed < input.count else { return .needsInput }
                let byte = unsafe input[consumed]
                consumed += 1
                if let rejection = take(byte) {
                    state = .failed
                    return .rejected(rejection)
                }
            }
        }
    }

    private mutating func takeCounted(
        _ rest: UInt64, _ input: UnsafeRawBufferPointer, _ next: (UInt64) -> State
    ) -> BodyStep {
        let available = input.count - consumed
        guard available > 0 else { return .needsInput }
        let length = Int(min(UInt64(available), rest))
        let offset = consumed
        consumed += length
        state = next(rest - UInt64(length))
        return .content(offset: offset, length: length)
    }

    /// Takes the CRLF behind a chunk's data and the next chunk's size line in one step where they are all there and
    /// plain: no leading zero, no extension, not the last chunk. False, and nothing done, in all other cases.
    private mutating func takeSizeLine(_ input: UnsafeRawBufferPointer) -> Bool {
        var position = consumed
        switch state {
        case .chunkDataCarriageReturn:
            guard input.count - position >= 2, unsafe input[position] == 0x0D && input[position + 1] == 0x0A else {
                return false
            }
            position += 2
        case .chunkSizeStart:
            break
        case .done, .length, .untilClose, .chunkSize, .chunkExtension, .chunkSizeLineFeed, .chunkData,
            .chunkDataLineFeed, .trailers, .failed:
            return false
        }
        var size: UInt64 = 0
        // Eight digits are as many as a chunk in memory has, and do not overflow.
        let limit = min(position + 8, input.count)
        while position < limit, let digit = unsafe Octet.hexadecimalValue(input[position]) {
            if size == 0 && digit == 0 { return false }
            size = size << 4 | UInt64(digit)
            position += 1
        }
        guard size > 0, input.count - position >= 2, unsafe input[position] == 0x0D && input[position + 1] == 0x0A
        else { return false }
        consumed = position + 2
        state = .chunkData(size)
        return true
    }

    /// One octet of a chunk's framing.
    private mutating func take(_ byte: UInt8) -> Rejection? {
        switch state {
        case .chunkSizeStart:
            guard let digit = Octet.hexadecimalValue(byte) else {
                return .malformed("a chunk size is not a hexadecimal number")
            }
            state = .chunkSize(UInt64(digit))
        case .chunkSize(let size):
            if let digit = Octet.hexadecimalValue(byte) {
                guard size <= UInt64(Int64.max) >> 4 else { return .malformed("a chunk size is too large") }
                if size == 0 {
                    // Zeros make no progress: they count like extensions, so that they come to an end.
                    extensionBytes += 1
                    guard extensionBytes <= Self.extensionLimit else {
                        return .malformed("chunk sizes have too many leading zeros")
                    }
                }
                state = .chunkSize(size << 4 | UInt64(digit))
            } else {
                return sizeEnded(size, byte)
            }
        case .chunkExtension(let size):
            extensionBytes += 1
            if byte == 0x0D {
                state = .chunkSizeLineFeed(size)
            } else if byte == 0x0A || (byte < 0x20 && byte != 0x09) || byte == 0x7F {
                return .malformed("a chunk extension has a control octet")
            } else if extensionBytes > Self.extensionLimit {
                return .malformed("chunk extensions are larger than 16 KiB")
            }
        case .chunkSizeLineFeed(let size):
            guard byte == 0x0A else { return .malformed("a chunk size is not followed by CRLF") }
            if size == 0 { trailerScanner.reset() }
            state = size == 0 ? .trailers : .chunkData(size)
        case .chunkDataCarriageReturn:
            guard byte == 0x0D else { return .malformed("chunk data is not followed by CRLF") }
            state = .chunkDataLineFeed
        case .chunkDataLineFeed:
            guard byte == 0x0A else { return .malformed("chunk data is not followed by CRLF") }
            state = .chunkSizeStart
        case .done, .length, .untilClose, .chunkData, .trailers, .failed:
            break
        }
        return nil
    }

    private mutating func sizeEnded(_ size: UInt64, _ byte: UInt8) -> Rejection? {
        switch byte {
        case 0x0D: state = .chunkSizeLineFeed(size)
        case 0x3B: state = .chunkExtension(size)
        default: return .malformed("a chunk size is not a hexadecimal number")
        }
        return nil
    }

    /// The trailer section is taken as a whole: it stays in the input until its empty line is there.
    private mutating func decodeTrailers(_ input: UnsafeRawBufferPointer, into trailers: inout MessageHead) -> BodyStep
    {
        let rest = unsafe UnsafeRawBufferPointer(rebasing: input[consumed...])
        trailers.reset()
        if unsafe rest.count >= 2 && rest[0] == 0x0D && rest[1] == 0x0A {
            consumed += 2
            state = .done
            return .ended
        }
        if unsafe rest.count < 2 && (rest.count == 0 || rest[0] == 0x0D) { return .needsInput }
        switch unsafe trailerScanner.search(rest, limits: trailerLimits) {
        case .incomplete: return .needsInput
        case .rejected(let rejection): return .rejected(rejection)
        case .complete(let length):
            unsafe trailers.arena.appendPadded(UnsafeRawBufferPointer(rebasing: rest[..<length]))
            var summary = FieldSummary()
            if let rejection = FieldParser.parse(
                into: &trailers, from: 0, summary: &summary, limits: trailerLimits, of: .trailers)
            {
                return .rejected(rejection)
            }
            TrailerRules.dropForbidden(&trailers)
            consumed += length
            state = .done
            return .ended
        }
    }
}

/// Which fields may stand in a trailer section (RFC 9110 6.5.1).
package enum TrailerRules {
    /// Drops framing, routing, credentials and everything else that must not take effect late.
    package static func dropForbidden(_ trailers: inout MessageHead) {
        for index in trailers.fields.indices {
            switch trailers.fields[index].id {
            case .other, .date, .server:
                break
            case .authorization, .connection, .contentLength, .contentType, .cookie, .expect, .forwarded, .host,
                .keepAlive, .location, .maxForwards, .proxyAuthenticate, .proxyAuthenticationInfo,
                .proxyAuthorization, .proxyConnection, .retryAfter, .secWebSocketKey, .setCookie, .te, .trailer,
                .transferEncoding, .upgrade, .via, .wwwAuthenticate, .xForwardedFor, .xForwardedHost,
                .xForwardedPort, .xForwardedProto, .xRequestID, .tokenGatewayError:
                trailers.fields[index].isDropped = true
            }
        }
    }
}
