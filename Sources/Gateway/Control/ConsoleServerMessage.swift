import Console
import HTTP
import Proxy
import Reactor
import Telemetry

/// Between HTTP/1.1 and the console's messages.
enum ConsoleMessageCoding {
    /// The request as the console takes it.
    ///
    /// Also fields that `Connection` names are handed over: they are dropped in forwarding only, and the console judges
    /// by what is there (a peer must not be able to hide `Origin` or `X-Forwarded-For`).
    static func request(
        head: borrowing MessageHead, body: [UInt8], peer: SocketAddress, requestID: String
    ) -> ConsoleRequest {
        var fields: [ConsoleField] = []
        for field in head.fields {
            // The target's authority stands above the Host field (RFC 9112 section 3.2.2).
            if field.id == .host, head.flags.contains(.absoluteForm) { continue }
            fields.append(ConsoleField(head.text(field.name), head.text(field.value)))
        }
        if head.flags.contains(.absoluteForm) { fields.append(ConsoleField("Host", head.text(head.authority))) }
        let target = head.text(head.target)
        let query = target.firstIndex(of: "?").map { String(target[target.index(after: $0)...]) }
        let isUnix = peer.port == nil
        return ConsoleRequest(
            method: head.text(head.methodText), path: head.text(head.path), query: query, fields: fields, body: body,
            peer: isUnix ? "unix" : peer.ipText, isLoopbackPeer: peer.isLoopback, requestID: requestID)
    }

    /// Writes a response. False, with nothing written, when it would not be one message on the wire.
    static func write(
        _ response: ConsoleResponse, answersHead: Bool, keepAlive: Bool, to out: inout ByteBuffer
    ) -> Bool {
        guard (200...599).contains(response.status) else { return false }
        let fields = response.fields.filter { !ownFields.contains($0.name.lowercased()) }
        guard fields.allSatisfy(isSafe) else { return false }
        HTTP1Writer.statusLine(UInt16(response.status), to: &out)
        out.append("Date: ")
        out.append(Timestamp(unixSeconds: WallClock.seconds()).imfFixdate)
        out.append("\r\n")
        for field in fields {
            out.append(field.name)
            out.append(": ")
            out.append(field.value)
            out.append("\r\n")
        }
        let hasContent = response.status != 204 && response.status != 304
        if hasContent {
            HTTP1Writer.field("Content-Length", contentLength(of: response, answersHead: answersHead), to: &out)
        }
        out.append(keepAlive ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n")
        if hasContent, !answersHead { out.append(response.body) }
        return true
    }

    /// An error of the listener's own, in the form of all the gateway's errors.
    static func problem(_ error: GatewayError, detail: String, requestID: String) -> ConsoleResponse {
        let body =
            "{\"title\":\(quoted("\(error.detail)")),\"status\":\(error.status),\"code\":\"\(error.code)\""
            + ",\"detail\":\(quoted(detail)),\"request_id\":\(quoted(requestID))}"
        return ConsoleResponse(
            status: Int(error.status),
            fields: [
                ConsoleField("Content-Type", "application/problem+json"), ConsoleField("Cache-Control", "no-store"),
                ConsoleField("X-Content-Type-Options", "nosniff"),
                ConsoleField("Token-Gateway-Error", "\(error.code)"),
            ], body: Array(body.utf8))
    }

    private static let ownFields: Set<String> = [
        "content-length", "transfer-encoding", "connection", "keep-alive", "date", "trailer", "upgrade",
    ]

    /// The response to HEAD has the length of what GET would have brought.
    private static func contentLength(of response: ConsoleResponse, answersHead: Bool) -> UInt64 {
        guard answersHead, response.body.isEmpty, var text = response.field("content-length") else {
            return UInt64(response.body.count)
        }
        return text.withUTF8 { Octet.decimal(UnsafeRawBufferPointer($0)) } ?? 0
    }

    private static func isSafe(_ field: ConsoleField) -> Bool {
        var (name, value) = (field.name, field.value)
        return name.withUTF8 { Octet.isToken(UnsafeRawBufferPointer($0)) }
            && value.withUTF8 { Octet.isFieldValue(UnsafeRawBufferPointer($0)) }
    }

    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"", "\\":
                result.unicodeScalars.append("\\")
                result.unicodeScalars.append(scalar)
            case _ where scalar.value < 0x20: result.unicodeScalars.append(" ")
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
