import Foundation
import HTTP
import Proxy
import Testing

@Suite struct ProblemResponseTests {
    private func write(
        _ error: GatewayError, reason: StaticString? = nil, grant: String? = nil, retryAfter: UInt32 = 0,
        keepAlive: Bool = true, withBody: Bool = true
    ) -> (head: [String], body: [UInt8]) {
        var out = ByteBuffer()
        ProblemResponse.writeHTTP1(
            error, reason: reason, requestID: 0xABC1, grant: grant, retryAfter: retryAfter, date: octets(someDate),
            keepAlive: keepAlive, withBody: withBody, to: &out)
        let bytes = out.array()
        var scanner = HeadScanner()
        let length = bytes.withUnsafeBytes { bytes -> Int in
            guard case .complete(let length) = scanner.search(bytes, limits: HeadLimits()) else { return 0 }
            return length
        }
        #expect(length > 0)
        var head = MessageHead()
        parseResponse(String(decoding: bytes[..<length], as: UTF8.self), into: &head)
        let headLines = String(decoding: bytes[..<length], as: UTF8.self).components(separatedBy: "\r\n")
        return (headLines, Array(bytes[length...]))
    }

    private func members(_ body: [UInt8]) throws -> [String: Any] {
        try #require(try JSONSerialization.jsonObject(with: Data(body)) as? [String: Any])
    }

    @Test(arguments: GatewayError.allCases)
    func `every error is a problem that says what it is`(error: GatewayError) throws {
        let (head, body) = write(error)
        #expect(head.first == "HTTP/1.1 \(error.status) \(Status.reason(error.status))")
        #expect(values("content-type", in: head) == ["application/problem+json"])
        #expect(values("content-length", in: head) == ["\(body.count)"])
        #expect(values("token-gateway-error", in: head) == [error.code.description])
        #expect(values("cache-control", in: head) == ["no-store"])
        #expect(values("date", in: head) == [someDate])
        #expect(values("connection", in: head) == [] && values("retry-after", in: head) == [])
        let members = try members(body)
        #expect(members["type"] as? String == "about:blank")
        #expect(members["title"] as? String == Status.reason(error.status).description)
        #expect(members["status"] as? Int == Int(error.status))
        #expect(members["code"] as? String == error.code.description)
        #expect(members["detail"] as? String == error.detail.description)
        #expect(members["retryable"] as? Bool == error.isRetryable)
        #expect(members["request_id"] as? String == "abc1")
        #expect(members["grant"] == nil)
    }

    @Test(arguments: GatewayError.allCases)
    func `an answer to HEAD has the head alone`(error: GatewayError) {
        let full = write(error, grant: "crm", retryAfter: 3)
        let (head, body) = write(error, grant: "crm", retryAfter: 3, withBody: false)
        #expect(head == full.head)
        #expect(body.isEmpty)
    }

    @Test func `reason, grant, patience and the end of the connection are said`() throws {
        let (head, body) = write(
            .tokenUnavailable, reason: "because", grant: "crm", retryAfter: 17, keepAlive: false)
        #expect(values("retry-after", in: head) == ["17"])
        #expect(values("connection", in: head) == ["close"])
        let members = try members(body)
        #expect(members["grant"] as? String == "crm")
        #expect((members["detail"] as? String)?.hasSuffix(" (because)") == true)
    }

    @Test func `no name or reason breaks the JSON`() throws {
        let grant = "a\"b\\c\u{1}\n\u{7f}ä"
        let (_, body) = write(.notConnected, reason: "a \"quoted\" \\ reason\t", grant: grant)
        let members = try members(body)
        #expect(members["grant"] as? String == grant)
        #expect((members["detail"] as? String)?.hasSuffix("(a \"quoted\" \\ reason\t)") == true)
    }
}

@Suite struct GatewayErrorTests {
    /// The table of the design.
    static let table: [(UInt16, GatewayError, String, GatewayError.Fault)] = [
        (400, .malformedRequest, "malformed_request", .caller), (408, .requestTimeout, "request_timeout", .caller),
        (413, .bodyTooLarge, "body_too_large", .caller), (414, .targetTooLong, "target_too_long", .caller),
        (431, .headersTooLarge, "headers_too_large", .caller),
        (505, .versionNotSupported, "version_not_supported", .caller),
        (501, .notImplemented, "not_implemented", .caller),
        (417, .expectationFailed, "expectation_failed", .caller), (403, .callerDenied, "caller_denied", .caller),
        (404, .noRoute, "no_route", .caller), (400, .grantNotNamed, "grant_not_named", .caller),
        (404, .unknownGrant, "unknown_grant", .caller), (502, .upstreamNotNamed, "upstream_not_named", .upstream),
        (502, .upstreamUnreachable, "upstream_unreachable", .upstream),
        (502, .upstreamTLS, "upstream_tls", .upstream), (502, .upstreamProtocol, "upstream_protocol", .upstream),
        (504, .upstreamTimeout, "upstream_timeout", .upstream), (503, .notConnected, "not_connected", .provider),
        (503, .reauthorizationRequired, "reauthorization_required", .provider),
        (503, .tokenUnavailable, "token_unavailable", .provider),
        (503, .configurationError, "configuration_error", .gateway), (503, .overloaded, "overloaded", .gateway),
        (503, .draining, "draining", .gateway), (500, .internalError, "internal_error", .gateway),
    ]

    @Test func `status, code and fault are those of the design`() {
        #expect(Self.table.map(\.1) == GatewayError.allCases.sorted { place($0) < place($1) })
        for (status, error, code, fault) in Self.table {
            #expect(error.status == status && error.code.description == code && error.fault == fault, "\(error)")
        }
    }

    private func place(_ error: GatewayError) -> Int { Self.table.firstIndex { $0.1 == error } ?? -1 }

    @Test(arguments: GatewayError.allCases)
    func `the columns of the table agree`(error: GatewayError) {
        #expect(!Status.reason(error.status).description.isEmpty)
        #expect(error.code.description.allSatisfy { $0.isLowercase || $0 == "_" })
        let detail = error.detail.description
        #expect(detail.hasSuffix(".") && !detail.contains("\""))
        switch error.fault {
        case .caller: #expect(error.status < 500 || error.status == 501 || error.status == 505)
        case .upstream: #expect(error.status == 502 || error.status == 504)
        case .provider: #expect(error.status == 503)
        case .gateway: #expect(error.status == 503 || error.status == 500)
        }
        // After bytes that were not understood nothing on the connection can be trusted.
        let isFraming: [GatewayError] = [
            .malformedRequest, .requestTimeout, .bodyTooLarge, .targetTooLong, .headersTooLarge, .versionNotSupported,
        ]
        if isFraming.contains(error) { #expect(error.closesCaller) }
        if error.fault == .upstream || error.fault == .provider { #expect(!error.closesCaller) }
    }

    @Test func `codes are told apart`() {
        #expect(Set(GatewayError.allCases.map(\.code.description)).count == GatewayError.allCases.count)
        #expect(Set(GatewayError.allCases.map(\.detail.description)).count == GatewayError.allCases.count)
    }
}
