class ExactAuxiliary:
    @classmethod
    def ar1(cls, alphas, step):
        return None

    @classmethod
    def convert(cls, aux, step):
        return None
