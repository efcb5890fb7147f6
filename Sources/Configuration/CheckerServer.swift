// Listeners and console.

extension Checker {
    mutating func checkListeners() {
        if draft.listeners.isEmpty {
            diagnostics.error(.nowhere, "there is no [listener.NAME]: callers could not connect")
        }
        var seen: [(title: String, address: Snapshot.Address)] = []
        func clash(_ address: Snapshot.Address) -> String? { seen.first { $0.address.overlaps(address) }?.title }
        for listener in draft.listeners where listener.has("address") {
            if let other = clash(listener.value.listener.address) {
                diagnostics.error(listener.position(of: "address"), "\(other) already listens on this address")
            }
            seen.append((listener.title, listener.value.listener.address))
        }
        guard let console = draft.console, !console.faulty.contains("address"),
            let other = clash(console.value.address)
        else { return }
        diagnostics.error(console.position(of: "address"), "\(other) already listens on this address")
    }

    mutating func checkConsole() {
        guard let console = draft.console else { return }
        checkSecrets(console.value.secrets, "secret", in: console)
        let hasSecret = ["secret_file", "secret_env", "secret_credential"].contains { console.mentions($0) }
        if !console.faulty.contains("address"), !console.value.address.isLocal, !hasSecret {
            diagnostics.error(
                console.position(of: "address"),
                "the console may not listen on \(console.value.address) without authentication: "
                    + "add \"secret_file\", or use a loopback address")
        }
        if let url = console.value.publicURL, url.isPlaintext, !url.isLoopback {
            diagnostics.error(
                console.position(of: "public_url"),
                "\"public_url\" must be https://, or http:// with a loopback address: codes travel through it")
        }
    }
}

extension Snapshot.Address {
    /// Whether binding both would fail or share callers between them.
    func overlaps(_ other: Self) -> Bool {
        switch (self, other) {
        case (.unix(let path), .unix(let otherPath)): path == otherPath
        case (.any(let port), .any(let otherPort)), (.any(let port), .tcp(_, let otherPort)),
            (.tcp(_, let port), .any(let otherPort)):
            port == otherPort && port != 0
        case (.tcp(let address, let port), .tcp(let otherAddress, let otherPort)):
            address == otherAddress && port == otherPort && port != 0
        case (.unix, .tcp), (.unix, .any), (.tcp, .unix), (.any, .unix): false
        }
    }
}
