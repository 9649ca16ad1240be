package scenarios;

/** What a scenario expects, whether or not assertions are on. */
final class Check {
    static void that(boolean holds, Object what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }
}
