// A step of a shared library: yadokariBuild(destination: 'registry.example.com/team/app:1').
// To be called in a container with the executor's debug image (examples/jenkins/pod.yaml). Returns the digest.
def call(Map given = [:]) {
    def lines = { value -> value == null ? '' : (value instanceof Collection ? value.join('\n') : value.toString()) }
    def digest = "yadokari-${UUID.randomUUID()}.digest"
    def variables = [
        "YADOKARI_CONTEXT=${given.context ?: env.WORKSPACE}",
        "YADOKARI_DOCKERFILE=${given.dockerfile ?: ''}",
        "YADOKARI_DESTINATIONS=${lines(given.destinations ?: given.destination)}",
        "YADOKARI_BUILD_ARGS=${lines(given.buildArgs)}",
        "YADOKARI_LABELS=${lines(given.labels)}",
        "YADOKARI_SECRETS=${lines(given.secrets)}",
        "YADOKARI_TARGET=${given.target ?: ''}",
        "YADOKARI_PLATFORMS=${lines(given.platforms).replace('\n', ',')}",
        "YADOKARI_CACHE=${given.cache ?: ''}",
        "YADOKARI_CACHE_REPO=${given.cacheRepo ?: ''}",
        "YADOKARI_ISOLATION=${given.isolation ?: ''}",
        "YADOKARI_ARGUMENTS=--digest-file=${env.WORKSPACE}/${digest}\n${lines(given.arguments)}",
    ]
    withEnv(variables) {
        sh(label: 'Build the image', script: libraryResource('yadokari/build.sh'))
    }
    def found = readFile(digest).trim()
    sh(label: 'Tidy', script: "rm -f '${digest}'")
    return found
}
