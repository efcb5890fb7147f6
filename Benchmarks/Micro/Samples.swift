import HTTP
import Proxy

/// The messages that are measured.
enum Sample {
    /// What a load generator sends.
    static let smallRequest = octets("GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: h2load\r\n\r\n")
    /// What a service sends.
    static let request = octets(
        "GET /api/v1/items?limit=20 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: legacy-service/4.2\r\n"
            + "Accept: application/json\r\nAccept-Encoding: gzip\r\nX-Request-ID: 01890c9a-7b1e\r\n"
            + "Authorization: Basic eDp5\r\nConnection: keep-alive\r\n\r\n")
    /// What a browser sends through somebody's front end: long values, many names.
    static let largeRequest = octets(
        "POST /shop/cart/items?session=7f3a2b&campaign=autumn HTTP/1.1\r\nHost: shop.example.com\r\n"
            + "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0\r\n"
            + "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
            + "Accept-Language: en-GB,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n"
            + "Referer: https://shop.example.com/shop/items/1234567\r\nContent-Type: application/json\r\n"
            + "Content-Length: 512\r\nOrigin: https://shop.example.com\r\nDNT: 1\r\nSec-Fetch-Dest: empty\r\n"
            + "Sec-Fetch-Mode: cors\r\nSec-Fetch-Site: same-origin\r\nX-Forwarded-For: 203.0.113.7\r\n"
            + "X-Forwarded-Proto: https\r\nX-Trace_ID: 0af7651916cd43dd8448eb211c80319c\r\n"
            + "Cookie: id=\(String(repeating: "0123456789abcdef", count: 12)); theme=dark\r\n\r\n")
    static let response = octets(
        "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: application/json\r\n"
            + "Content-Length: 128\r\nConnection: keep-alive\r\nCache-Control: no-store\r\n"
            + "ETag: \"abcdef0123456789\"\r\n\r\n")
    /// 16 KiB in chunks of 1 KiB.
    static let chunked: [UInt8] = {
        var out = ByteBuffer()
        let content = [UInt8](repeating: 0x61, count: 1024)
        for _ in 0..<16 { content.withUnsafeBytes { HTTP1Writer.chunk($0, to: &out) } }
        HTTP1Writer.lastChunk(trailers: MessageHead(), to: &out)
        return out.array()
    }()
    static let date = octets("Thu, 01 Jan 2026 00:00:00 GMT")
    static let upstream = UpstreamIdentity(
        isPlaintext: false, authority: octets("api.example.com"), basePath: [])
    static let caller = CallerIdentity(address: octets("127.0.0.1"), isIPv6: false)
    static let credential = Credential(
        headerName: "Authorization", headerValue: octets("Bearer ") + [UInt8](repeating: 0x78, count: 1200),
        generation: 1, expiry: .max)

    static func rule(_ index: Int = 0, path: RouteRule.Path = .prefix([0x2F])) -> RouteRule {
        RouteRule(name: "route-\(index)", path: path, upstream: 0, grant: 0)
    }

    static func octets(_ text: String) -> [UInt8] { Array(text.utf8) }

    static func parsed(_ request: [UInt8]) -> MessageHead {
        var head = MessageHead()
        let rejection = request.withUnsafeBytes { HTTP1RequestParser.parse($0, into: &head, limits: HeadLimits()) }
        expect(rejection == nil, "the request parses")
        return head
    }
}
