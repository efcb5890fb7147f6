/// Keys of RFC 7515 appendix A (A.2 RSA, A.3 P-256) and RFC 8037 appendix A (Ed25519) in the forms that files have, and
/// others made for these tests. None is in use anywhere.
enum KeyText {
    static let rsaPKCS8 = """
        -----BEGIN PRIVATE KEY-----
        MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQCh+BYK4uPJtGXO
        jS1lYmM2K5J9vinh8CR3/BYlzJChNuOL2TSXxbbqY913EeZ8dCn5VrD7io8ImtxL
        aYk8wTM/U+3QGbh3hCUv7JFP5IV3aVlL6kKA0ywPVb9ilE8TA5a8bpvfbr3SvaNn
        juygxmj3AbONv/s4yDQs4v5tJ/reSlpIdJed1LnPmt7Ex1sFhSwsD174pcF1A5L5
        ROjtZMEQxrZHYJqkeDrrnGya11UxMFBji4NmXG9veoKjlnAqH2QbgtPr8jkiGUkf
        toaHLFcW9Qr4NY2ai50Xw0Byj3+H2JoY2PyrZ62EWQwuz3WTOTY8BwNNb2BvniHg
        VFbK5emhAgMBAAECggEAEq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyW
        PEAeP88vLNO97IjlA7/GQ5sLKMgvfTeXZx9SE+7YwVol2NXOoAJe46sui395IW/G
        O+pWJ1O0BkTGoVEn2bKVRUCgu+GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzj
        kn439X0M/V51gfpRLI9JYanrC4D4qAdGcopV/0ZHHzQlBjudU2QvXt4ehNYTCBr6
        XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl/x/jTj3ccPDVZFD9pIuhLhBOneufuBiB
        4cS98l2SR/RQyGWSeWjnczT0QU91p1DhOVRuOopznQKBgQDgHMQQ60imZV1URk0K
        pLttoLhyt3SmqdEf/kgHePDdtzEafpAu+cS191R2JiuoF2yzWXnwFDcqGigp5BNr
        0AHQfD8/Lk8l1Mk09jxxCfui5nYooNyac8YFjm3vItzVCVDnEd3BbVWG8qf6deqE
        lMGAg+C2V0L4oNXnP7LZcPAZRwKBgQC5A8R+CZW2MvRTLLHzwZkUXV866cff7tx6
        kqa0finGG0KgeqlaZPxgCZnFp7AeAcCMtiynVlJ7vMVgePsLq6XtON4tB5kP9jAP
        rq3rbAOal78eUH5OcED6eNuCV8ixEu1eWcPNCS/l1OW1EnXUEoEHKl54Xrrz2uNw
        kgMTP1FZ1wKBgAcCn1dwJKufzBWQxWQp1vsM5fggqPN1qGb5y0MAk3g7/Ls5bkUp
        5u9SN0Ai3Ya6hNnvWJMb7sXQX6U/zyO2M/hTip7tUeh7CXgwo59dkpN75gJLVds2
        9+DAncu3KXU4f2Fa+7bLNrur53k8KwPOq2bbuTG69QtV7Jr5MR0AHWKNAoGBAIf/
        evpitUf+4JYbLpvNXWcY052Mpz22aR84mY3nh3F2LF2mjMJDpTg7FmuyPcVw6EcG
        yoAe9fa65iNqCq+jdw6PVNGo2hxfjSiZ8IIzHdsPXI89//pMjZcQK9r+CCoRjaZj
        OYiIDktVWZzmevJuv6WywUqd57LE3Zar3dLSIkx1AoGAIYd7DHOhrWvxkwPQsRM2
        tOgrjbcrfvtQJipd+DlcxyVuuM9sQLdgjVk2oy26F0EmpScGLq2MowX7fhd/QJQ3
        ydy5cY7YIBi87w93IKLEdfnbJtoOPLUW0ITrJReOgo1cq9SbsxYawBgfp/gh6A56
        03k2+ZQwVK0JKSHuLFkuQ3U=
        -----END PRIVATE KEY-----
        """
    static let rsaPKCS1 = """
        -----BEGIN RSA PRIVATE KEY-----
        MIIEowIBAAKCAQEAofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd/wWJcyQoTbji9k0
        l8W26mPddxHmfHQp+Vaw+4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL+yRT+SFd2lZS+pC
        gNMsD1W/YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb/7OMg0LOL+bSf63kpaSHSX
        ndS5z5rexMdbBYUsLA9e+KXBdQOS+UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uD
        Zlxvb3qCo5ZwKh9kG4LT6/I5IhlJH7aGhyxXFvUK+DWNmoudF8NAco9/h9iaGNj8
        q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQIDAQABAoIBABKucaRpzQorw35S
        bEUAVx8dYXUdZOlJcHtiWQ+dC6V8ljxAHj/PLyzTveyI5QO/xkObCyjIL303l2cf
        UhPu2MFaJdjVzqACXuOrLot/eSFvxjvqVidTtAZExqFRJ9mylUVAoLvhowVWmC1O
        n95fZCXxTUtxNEG1Xcc7m0rtzJKs45J+N/V9DP1edYH6USyPSWGp6wuA+KgHRnKK
        Vf9GRx80JQY7nVNkL17eHoTWEwga+lwi0FEoW9Y7lDtWXYmKBWhUE+U8PGxlJf8f
        40493HDw1WRQ/aSLoS4QTp3rn7gYgeHEvfJdkkf0UMhlknlo53M09EFPdadQ4TlU
        bjqKc50CgYEA4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH/5IB3jw3bcxGn6QLvnE
        tfdUdiYrqBdss1l58BQ3KhooKeQTa9AB0Hw/Py5PJdTJNPY8cQn7ouZ2KKDcmnPG
        BY5t7yLc1QlQ5xHdwW1VhvKn+nXqhJTBgIPgtldC+KDV5z+y2XDwGUcCgYEAuQPE
        fgmVtjL0Uyyx88GZFF1fOunH3+7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYs
        p1ZSe7zFYHj7C6ul7TjeLQeZD/YwD66t62wDmpe/HlB+TnBA+njbglfIsRLtXlnD
        zQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdcCgYAHAp9XcCSrn8wVkMVkKdb7
        DOX4IKjzdahm+ctDAJN4O/y7OW5FKebvUjdAIt2GuoTZ71iTG+7F0F+lP88jtjP4
        U4qe7VHoewl4MKOfXZKTe+YCS1XbNvfgwJ3Ltyl1OH9hWvu2yza7q+d5PCsDzqtm
        27kxuvULVeya+TEdAB1ijQKBgQCH/3r6YrVH/uCWGy6bzV1nGNOdjKc9tmkfOJmN
        54dxdixdpozCQ6U4OxZrsj3FcOhHBsqAHvX2uuYjagqvo3cOj1TRqNocX40omfCC
        Mx3bD1yPPf/6TI2XECva/ggqEY2mYzmIiA5LVVmc5nrybr+lssFKneeyxN2Wq93S
        0iJMdQKBgCGHewxzoa1r8ZMD0LETNrToK423K377UCYqXfg5XMclbrjPbEC3YI1Z
        NqMtuhdBJqUnBi6tjKMF+34Xf0CUN8ncuXGO2CAYvO8PdyCixHX52ybaDjy1FtCE
        6yUXjoKNXKvUm7MWGsAYH6f4IegOetN5NvmUMFStCSkh7ixZLkN1
        -----END RSA PRIVATE KEY-----
        """
    static let ecPKCS8 = """
        -----BEGIN PRIVATE KEY-----
        MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgjpsQnnGQmL+YBIff
        H1136cspYG6+0iY7X1fCE9+E9LKhRANCAAR/zc4ncPbEXUGDy+5v20t7WAczNXvp
        7xO6z248e9FURcfxRM0bvZt+hyzf7bnuufSzaV1uqQskrYpGIyiFiOWt
        -----END PRIVATE KEY-----
        """
    static let ecSEC1 = """
        -----BEGIN EC PRIVATE KEY-----
        MHcCAQEEII6bEJ5xkJi/mASH3x9dd+nLKWBuvtImO19XwhPfhPSyoAoGCCqGSM49
        AwEHoUQDQgAEf83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEXH8UTNG72b
        focs3+257rn0s2ldbqkLJK2KRiMohYjlrQ==
        -----END EC PRIVATE KEY-----
        """
    static let ed25519PKCS8 = """
        -----BEGIN PRIVATE KEY-----
        MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
        -----END PRIVATE KEY-----
        """
    static let encryptedPKCS8 = """
        -----BEGIN ENCRYPTED PRIVATE KEY-----
        MIH0MF8GCSqGSIb3DQEFDTBSMDEGCSqGSIb3DQEFDDAkBBD4s+qpq4MZ58/lb5eC
        E/OnAgIIADAMBggqhkiG9w0CCQUAMB0GCWCGSAFlAwQBKgQQ5Vh/fS76icKqNans
        e/vdfQSBkN9Zt/AJMQ50l/9nrIdVJ4D8Tz+Tx2dwxVamzAeaNQglT2gGzKiK3KtZ
        hFS4SDBm/WLskgKgckmzh3QbFUndu1jtn686k+0dMosKGrd16D/7PzjcvJBc0JW9
        CMgRWh+Y9Ftp2v0bp6XG4fRMcYq7iZ6Dso/yYxvSlAztnP08wqi8WWP9FF+q5IlR
        0YPma5yyGQ==
        -----END ENCRYPTED PRIVATE KEY-----
        """
    static let encryptedSEC1 = """
        -----BEGIN EC PRIVATE KEY-----
        Proc-Type: 4,ENCRYPTED
        DEK-Info: AES-256-CBC,FFBAB877C2CBBB966B65087043592692

        ZP9b6NcjNhe6g7CIZpvUrb9ZafRV6M0NGJK8Vq3Hb3l/A+4kjTPTKMYgXCs2nhCJ
        xMoO6jUUJvMZEb64UISERO9dFc0urQo7nV14xJUhEmX5Djg0luKvjrNsy9Oq/GdP
        IfytIR1UbiUF4i8K6Ogig9ok0UAEs23+bXxVBh0AL+g=
        -----END EC PRIVATE KEY-----
        """
    static let smallRSA = """
        -----BEGIN PRIVATE KEY-----
        MIICdgIBADANBgkqhkiG9w0BAQEFAASCAmAwggJcAgEAAoGBAK5Ov7JcJka7dUzj
        7x49CrENwbMZNN45B3eYZdZkRv3bgKjCBkgpZlWpuQwGqdc5X3gTYdSj67unYpy4
        XJK79pApo7VX/HmOWLvlGKbGCwAvYZRByarsABrxF6DksRkknslzyyPxs1D68O7G
        gi9AXnA6Yqo16lTz0JfFXr96uDrpAgMBAAECgYAhYmPEvXF3SqAEwgMiP360unXG
        36UIitOrTDz0+u+93zSdHcwmNgerkH4ol34gApUOYmfyWhLkNgLlEUppsCZg1RQK
        Y6SN7xy46o1bj2yZsmBCG3yDicnz8Dhm6t+sroP+KWDM3AvBBUHeZGy+KjRDZqD/
        UEN3zQxbQHX1OMBcAQJBAN4U2StXHP6XnjLf+U4UDJ68Z6wC1+NWaBtDJcdz2he/
        +03GmOw6Bzk0kkN8+wXsep+G24pB9a7O4FUcy7ftApkCQQDI7f5x2Q0wvYafp/35
        BZzygIjbo0ZsZ9PppavVJpNxCZ8MbC+3JNSWHODe0PCJsSbSFKEfcgnDNW67xtAO
        D3zRAkAyvrLM22/toLluSI1P0Pb9QnGx9UhdUv4g1JwKUieQa7bBk9KXj77czG1r
        bGBzfxCZ6Re7JM09r1nFOPo3wblpAkEAlOFDl7fsPiEwjzw6wzmVgVocDiJ9G/YS
        3x0SpW1f8nHel6XR9TIlEtVzCaZnlJ7e1OrUOCiXcz00P46guspfAQJAQOjDqKpC
        3sApnATKiFeoi+n1tvQI/dQ7kKFJDx7W0v/Ih37+i4WnSJF4SxrNgRuE17W8q5I6
        VvVO9sz8YRHXuQ==
        -----END PRIVATE KEY-----
        """
    static let secp256k1 = """
        -----BEGIN PRIVATE KEY-----
        MIGEAgEAMBAGByqGSM49AgEGBSuBBAAKBG0wawIBAQQgX1q9kLCeMHy3d8sDXczq
        hmgb8PEn42aG4qaUlEBBX3OhRANCAAQPnbaEbrqAokilUQKEf73BtyWAkOu+xgBL
        lXAaSJtP7o1ykW/iHMpJfaQl3EZRReuzSDSE5P5EQtrUIY1bkRK7
        -----END PRIVATE KEY-----
        """
    static let p384 = """
        -----BEGIN PRIVATE KEY-----
        MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDCRNI1l8/gPFQBEcort
        gLpE+tSD7cAixXIZI07FEY1oaMO1w89dVejjrkErA716k1mhZANiAAQ3XsGEsa6M
        2f6y+4dQdpIACytIqevJlKzR2aS0KyuZLc4dv3gp9gFi1wo1pAbxXdt7MNarqDRX
        ikJ15IXbtYtBmP59Q2E23oQ0C2P6XZR32IseYVvMVgp92ecPKAhuzh4=
        -----END PRIVATE KEY-----
        """
    static let p521 = """
        -----BEGIN PRIVATE KEY-----
        MIHuAgEAMBAGByqGSM49AgEGBSuBBAAjBIHWMIHTAgEBBEIBaFpF+FAFvmwt0LXa
        jBlLKJZY5K45d9J9WPYlF1bQ3HCGkyTt++DACUILPaaMDk3Mp9NKYWC/NIWAllGp
        VHzhs9+hgYkDgYYABAETCwFg5hQaoePe2UJRLjd3F+EcOOJdEMBNrU3d9ViVfbOl
        ZCN/rx4wdJpySXFG1wi+zYgcuB6tjTvWwByIoT5acAF8XQ8Uc/eY+Nt5Uddi3HOt
        8NHWnN6p0vvnvhG5qvlFgSagffIKHJmAg6AQNT5Ln/LsZ9v7XEfz7XI6rh7Y4rNt
        dg==
        -----END PRIVATE KEY-----
        """
}
