import COpenSSL

/// Where PEM text is: a file, or memory (then `name` says what it is, for messages).
enum PEMSource {
    case file(String)
    case text(String, name: String)
    case secret(SecretBytes, name: String)

    var name: String {
        switch self {
        case .file(let path): path
        case .text(_, let name), .secret(_, let name): name
        }
    }

    var path: String? {
        switch self {
        case .file(let path): path
        case .text, .secret: nil
        }
    }

    func error(_ kind: TLSConfigurationError.Kind, _ reason: String) -> TLSConfigurationError {
        TLSConfigurationError(kind: kind, path: path, reason: reason)
    }

    /// Reads with `body`, which borrows the BIO.
    func read<Result>(
        _ body: (OpaquePointer) throws(TLSConfigurationError) -> Result
    ) throws(TLSConfigurationError) -> Result {
        ERR_clear_error()
        defer { ERR_clear_error() }
        guard let bio = unsafe open() else {
            let cause = systemErrorText()
            throw error(.unreadableFile, "\(name) cannot be read: \(cause)")
        }
        defer { unsafe BIO_free(bio) }
        return try unsafe body(bio)
    }

    private func open() -> OpaquePointer? {
        switch self {
        case .file(let path):
            return unsafe BIO_new_file(path, "r")
        case .text(let text, _):
            var text = text
            return text.withUTF8 { unsafe memory(UnsafeRawBufferPointer($0), BIO_s_mem()) }
        case .secret(let bytes, _):
            return unsafe bytes.withUnsafeBytes { unsafe memory($0, BIO_s_secmem()) }
        }
    }

    private func memory(_ bytes: UnsafeRawBufferPointer, _ method: OpaquePointer?) -> OpaquePointer? {
        guard let bio = unsafe BIO_new(method) else { return nil }
        let written = unsafe bytes.isEmpty ? 1 : BIO_write_ex(bio, bytes.baseAddress, bytes.count, nil)
        guard written == 1 else {
            unsafe BIO_free(bio)
            return nil
        }
        return unsafe bio
    }

    /// The octets as text.
    func contents() throws(TLSConfigurationError) -> String {
        try unsafe read { bio throws(TLSConfigurationError) in
            try unsafe checkReadable(bio)
            _ = unsafe tg_bio_rewind(bio)
            var text: [UInt8] = []
            var chunk = [UInt8](repeating: 0, count: 16 * 1024)
            while true {
                let count = unsafe BIO_read(bio, &chunk, Int32(chunk.count))
                guard count > 0 else { return String(decoding: text, as: UTF8.self) }
                text += chunk[..<Int(count)]
            }
        }
    }

    /// All certificates; at least one.
    func certificates() throws(TLSConfigurationError) -> [Certificate] {
        try unsafe read { bio throws(TLSConfigurationError) in
            var found: [Certificate] = []
            while let x509 = unsafe PEM_read_bio_X509_AUX(bio, nil, nil, nil) {
                found.append(unsafe Certificate(owning: x509))
            }
            // The end of the text is "no start line"; anything else is a damaged block.
            let code = ERR_peek_last_error()
            let ended = tg_error_library(code) == Int32(ERR_LIB_PEM) && tg_error_reason(code) == PEM_R_NO_START_LINE
            guard ended else {
                throw error(
                    .badCertificate, "certificate \(found.count + 1) in \(name) is damaged: it must be PEM text")
            }
            guard !found.isEmpty else {
                try unsafe checkReadable(bio)
                throw error(
                    .noCertificate, "\(name) has no certificate: it must hold at least one BEGIN CERTIFICATE block")
            }
            return found
        }
    }

    /// A folder can be opened and then does not read; PEM reading keeps that to itself.
    private func checkReadable(_ bio: OpaquePointer) throws(TLSConfigurationError) {
        var octet: UInt8 = 0
        ERR_clear_error()
        _ = unsafe BIO_read(bio, &octet, 1)
        guard tg_error_library(ERR_peek_error()) == Int32(ERR_LIB_SYS) else { return }
        throw error(.unreadableFile, "\(name) cannot be read: \(systemErrorText())")
    }

    /// The first private key.
    func privateKey() throws(TLSConfigurationError) -> PrivateKey {
        try unsafe read { bio throws(TLSConfigurationError) in
            // OpenSSL would ask for the password of an encrypted key on the terminal.
            var isEncrypted = false
            let key = unsafe withUnsafeMutablePointer(to: &isEncrypted) { asked in
                unsafe PEM_read_bio_PrivateKey(
                    bio, nil,
                    { _, _, _, asked in
                        unsafe asked?.assumingMemoryBound(to: Bool.self).pointee = true
                        return -1
                    }, asked)
            }
            guard let key = unsafe key else {
                if isEncrypted {
                    throw error(
                        .badKey,
                        "\(name) is encrypted: the gateway does not ask for passwords; it must hold one unencrypted PEM "
                            + "PRIVATE KEY block (openssl pkey -in … -out …)")
                }
                try unsafe checkReadable(bio)
                throw error(
                    .badKey, "\(name) has no usable private key: it must hold one unencrypted PEM PRIVATE KEY block")
            }
            return unsafe PrivateKey(owning: key)
        }
    }
}

/// Owner of one X509.
@safe final class Certificate {
    let pointer: OpaquePointer
    init(owning pointer: OpaquePointer) { unsafe self.pointer = pointer }
    deinit { unsafe X509_free(pointer) }
}

/// Owner of one EVP_PKEY.
@safe final class PrivateKey {
    let pointer: OpaquePointer
    init(owning pointer: OpaquePointer) { unsafe self.pointer = pointer }
    deinit { unsafe EVP_PKEY_free(pointer) }
}

/// The first system error in the queue as text, for example "No such file or directory". Empties the queue.
private func systemErrorText() -> String {
    var code = ERR_get_error()
    while code != 0, tg_error_library(code) != Int32(ERR_LIB_SYS) { code = ERR_get_error() }
    return unsafe cText { unsafe tg_system_error(tg_error_reason(code), $0, $1) }
}

/// Text that C code writes, with its terminator, into the space that it gets.
func cText(capacity: Int = 256, _ fill: (UnsafeMutablePointer<CChar>, Int) -> Void) -> String {
    unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: capacity) { buffer in
        guard let start = buffer.baseAddress else { return "" }
        unsafe start.pointee = 0
        unsafe fill(start, buffer.count)
        return unsafe String(cString: start)
    }
}

/// OpenSSL's words for an error code, without its numbers.
func libraryText(_ code: UInt) -> String {
    guard code != 0, let text = unsafe ERR_reason_error_string(code) else {
        return unsafe cText { unsafe ERR_error_string_n(code, $0, $1) }
    }
    return unsafe String(cString: text)
}
