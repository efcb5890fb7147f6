// swift-tools-version: 6.3
import PackageDescription

/// script/test sets this variable: then a warning in a target of ours is an error, and one in a dependency is not.
let warningsAreErrors = Context.environment["TOKEN_GATEWAY_WARNINGS_AS_ERRORS"] == "1"
let warnings: [SwiftSetting] = warningsAreErrors ? [.treatAllWarnings(as: .error)] : []
let cxxWarnings: [CXXSetting] = warningsAreErrors ? [.treatAllWarnings(as: .error)] : []

/// Settings that every Swift target shares.
let common: [SwiftSetting] =
    warnings + [
        .swiftLanguageMode(.v6),
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .enableUpcomingFeature("MemberImportVisibility"),
    ]
/// The targets that handle raw memory say `unsafe` at each such place.
let strict = common + [.strictMemorySafety()]

/// The targets on a request's path. The run-time check for overlapping access costs 6 % of a request (measured with
/// perf); debug builds, which the tests run on, keep it, and the compiler's own check is always on.
let hot: [SwiftSetting] = [.unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release))]

/// The simulation of the grant machine plays 10,000 clusters in each run of the tests: optimized they take a tenth of the
/// time, and the checks at run time stay.
let simulated: [SwiftSetting] = [.unsafeFlags(["-O"], .when(configuration: .debug))]

/// One program to install: the Swift libraries are inside, in the linker's order.
let staticSwift: [LinkerSetting] = [
    .unsafeFlags(
        [
            "-static-stdlib", "-lFoundation", "-lCoreFoundation", "-lFoundationInternationalization",
            "-l_FoundationICU", "-lFoundationEssentials", "-l_FoundationCollections", "-l_FoundationCShims",
        ],
        .when(configuration: .release))
]

let package = Package(
    name: "token-gateway",
    products: [.executable(name: "token-gateway", targets: ["TokenGateway"])],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
    ],
    targets: [
        // The system's libraries, one thin shim each.
        .target(name: "CLinux"),
        .target(
            name: "COpenSSL", linkerSettings: [.linkedLibrary("ssl"), .linkedLibrary("crypto")]),
        .target(name: "CNghttp2", linkerSettings: [.linkedLibrary("nghttp2")]),
        .target(name: "CPostgreSQL", linkerSettings: [.linkedLibrary("pq")]),
        .target(name: "CTOML", cxxSettings: cxxWarnings),

        .target(name: "Reactor", dependencies: ["CLinux"], swiftSettings: strict + hot),
        .target(name: "OpenSSLKit", dependencies: ["COpenSSL"], swiftSettings: strict + hot),
        .target(name: "Telemetry", swiftSettings: common + hot),
        .target(name: "HTTP", dependencies: ["CNghttp2"], swiftSettings: strict + hot),
        .target(
            name: "TokenStore",
            dependencies: ["CPostgreSQL", "OpenSSLKit", .product(name: "GRDB", package: "GRDB.swift")],
            swiftSettings: common),
        // Only for the crash tests of the store: a writer to be killed.
        .executableTarget(
            name: "StoreCrashHelper", dependencies: ["TokenStore"], path: "Tests/StoreCrashHelper",
            swiftSettings: common),
        // Only for Benchmarks/grants: fills a store.
        .executableTarget(
            name: "GrantSeeder", dependencies: ["OAuth", "TokenStore"], path: "Tests/GrantSeeder",
            swiftSettings: common),
        .target(name: "OAuth", dependencies: ["HTTP", "OpenSSLKit"], swiftSettings: common + simulated),
        .target(name: "Proxy", dependencies: ["HTTP"], swiftSettings: common + hot),
        .target(name: "Configuration", dependencies: ["CTOML", "HTTP", "OpenSSLKit"], swiftSettings: common),
        .target(name: "Console", dependencies: ["HTTP", "Telemetry"], swiftSettings: common),
        .target(
            name: "Gateway",
            dependencies: [
                "Configuration", "Console", "HTTP", "OAuth", "OpenSSLKit", "Proxy", "Reactor", "Telemetry",
                "TokenStore", .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: common + hot),
        .target(
            name: "DemoServices", dependencies: ["OpenSSLKit", "Reactor"], swiftSettings: common),
        .executableTarget(
            name: "TokenGateway",
            dependencies: [
                "Configuration", "Console", "DemoServices", "Gateway", "HTTP", "OAuth", "OpenSSLKit", "Reactor",
                "Telemetry", "TokenStore",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: common,
            // One program to install: the Swift libraries are inside.
            linkerSettings: staticSwift),

        .testTarget(name: "ReactorTests", dependencies: ["Reactor"], swiftSettings: common),
        .target(name: "COpenSSLTesting", path: "Tests/COpenSSLTesting"),
        .testTarget(
            name: "OpenSSLKitTests", dependencies: ["COpenSSL", "COpenSSLTesting", "OpenSSLKit"], swiftSettings: common),
        .testTarget(name: "TelemetryTests", dependencies: ["Telemetry"], swiftSettings: common),
        .target(name: "CAllocationCounter", path: "Tests/CAllocationCounter", exclude: ["preload"]),
        .testTarget(name: "HTTPTests", dependencies: ["CAllocationCounter", "HTTP"], swiftSettings: common),
        // A PostgreSQL server of a test's own.
        .target(name: "PostgreSQLTesting", path: "Tests/PostgreSQLTesting", swiftSettings: common),
        .testTarget(
            name: "TokenStoreTests",
            dependencies: [
                "OpenSSLKit", "PostgreSQLTesting", "StoreCrashHelper", "TokenStore",
                .product(name: "GRDB", package: "GRDB.swift"),
            ],
            swiftSettings: common),
        .testTarget(
            name: "OAuthTests", dependencies: ["OAuth", "OpenSSLKit"], exclude: ["Simulation/mutants.txt"],
            swiftSettings: common + simulated),
        .testTarget(name: "ProxyTests", dependencies: ["CAllocationCounter", "HTTP", "Proxy"], swiftSettings: common),
        .testTarget(name: "ConfigurationTests", dependencies: ["Configuration", "OpenSSLKit"], swiftSettings: common),
        .testTarget(name: "ConsoleTests", dependencies: ["Console"], swiftSettings: common),
        .testTarget(
            name: "GatewayTests",
            dependencies: [
                "CAllocationCounter", "Configuration", "Console", "Gateway", "HTTP", "OAuth", "OpenSSLKit",
                "PostgreSQLTesting", "Proxy", "Reactor", "Telemetry", "TokenStore",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: common),
        .testTarget(
            name: "DemoServicesTests", dependencies: ["DemoServices", "OpenSSLKit", "Reactor"], swiftSettings: common),
        .testTarget(
            name: "TokenGatewayTests",
            dependencies: [
                "Configuration", "Console", "OAuth", "Reactor", "Telemetry", "TokenGateway",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: common),
        // README.md and packaging/ against the program.
        .testTarget(name: "DocumentationTests", dependencies: ["Proxy", "Telemetry"], swiftSettings: common),
        .testTarget(
            name: "EndToEndTests", dependencies: [], exclude: ["requirements.txt", "Scripts"],
            swiftSettings: common),
    ],
    cxxLanguageStandard: .cxx17
)
